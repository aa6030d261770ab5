/* SPDX-License-Identifier: BSD-3-Clause */
/* Twelve independent chains of multiply-adds in registers: what the processor can do at best, for
 * the benchmarks to compare with.  Returns the FLOPs done; out takes a value that depends on all.
 */
static ptrdiff_t FM_NAME(multiply_add_flops)(ptrdiff_t repeats, double *out)
{
    const vec factor = fm_broadcast((real)0.999), term = fm_broadcast((real)0.001);
    /* Different starts, or the compiler would keep one chain for all. */
    vec a = term, b = a + a, c = b + a, d = c + a, e = d + a, f = e + a;
    vec g = f + a, h = g + a, i = h + a, j = i + a, k = j + a, l = k + a;
    for (ptrdiff_t n = 0; n < repeats; n++) {
        a = a * factor + term;
        b = b * factor + term;
        c = c * factor + term;
        d = d * factor + term;
        e = e * factor + term;
        f = f * factor + term;
        g = g * factor + term;
        h = h * factor + term;
        i = i * factor + term;
        j = j * factor + term;
        k = k * factor + term;
        l = l * factor + term;
    }
    const vec all = a + b + c + d + e + f + g + h + i + j + k + l;
    *out = (double)all[0];
    return repeats * 12 * 2 * FM_LANES;
}
