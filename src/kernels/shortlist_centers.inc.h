/* SPDX-License-Identifier: BSD-3-Clause */
/* The centres of shortlist.inc.h: their order, codes and units, and how far codes are off. */

/* Places of k centres in the groups, by norm to an eighth of its power of two, the smallest first:
 * clusters of few rows have large ones.  key: room for k. */
static void FM_NAME(short_order)(const float *norms, float most, ptrdiff_t k, int32_t *place,
                                 int32_t *label, int32_t *key)
{
    enum {
        KEYS = 256
    };
    int32_t ends[KEYS + 1] = {0};
    for (ptrdiff_t j = 0; j < k; j++) {
        float share = norms[j] / most;
        int32_t octave = 31;
        for (; share < 0.5f && octave > 0; octave--)
            share *= 2;
        const int32_t eighth = (int32_t)(share * 16) - 8; /* of share in 0.5 .. 1 */
        key[j] = octave * 8 + (eighth < 0 ? 0 : eighth > 7 ? 7 : eighth);
        ends[key[j] + 1]++;
    }
    for (int i = 0; i < KEYS; i++)
        ends[i + 1] += ends[i];
    for (ptrdiff_t j = 0; j < k; j++) {
        place[j] = ends[key[j]]++;
        label[place[j]] = (int32_t)j;
    }
}

/* Sixteen floats at a time: |y|^2 and max |y_t|, for columns that are a multiple of it. */
static float FM_NAME(short_square)(const float *y, ptrdiff_t columns, float *largest)
{
    fm_short_floats square = {0}, most = {0};
    for (ptrdiff_t t = 0; t < columns; t += 16) {
        const fm_short_floats value = *(const fm_short_floats *)(y + t);
        square += value * value;
        most = fm_short_max(most, fm_short_max(value, -value));
    }
    for (int lane = 0; lane < 16; lane++)
        *largest = most[lane] > *largest ? most[lane] : *largest;
    return fm_short_sum(square);
}

/* Codes of one group of centres label[0 .. n), and what the kernel must know of it, from their
 * floats and biases, in units of all. */
static void FM_NAME(short_group)(const fm_shortlist *p, ptrdiff_t g, const float *norms,
                                 fm_short_arrays *to)
{
    const ptrdiff_t d = p->d, quads = (d + 3) / 4, first = g * FM_PANEL_WIDTH;
    const ptrdiff_t columns = FM_SHORT_FLOATS(d);
    const ptrdiff_t n = p->k - first < FM_PANEL_WIDTH ? p->k - first : FM_PANEL_WIDTH;
    const int32_t *label = to->label + first;
    int32_t *codes = to->codes + g * quads * FM_PANEL_WIDTH;
    float most = 127 * 0x1p-20f, norm = 0, error = 0;
    for (ptrdiff_t j = 0; j < n; j++) {
        FM_NAME(short_square)(to->floats + label[j] * columns, columns, &most);
        norm = norms[label[j]] > norm ? norms[label[j]] : norm;
    }
    const float ratio = most / 127, inverse = 127 / most, round = 0x1.8p23f;
    for (ptrdiff_t j = 0; j < FM_PANEL_WIDTH; j++) {
        fm_short_floats rest = {0};
        fm_short_counts sum = {0};
        int32_t total = 0;
        for (ptrdiff_t t = 0; t < columns; t += 16) {
            fm_short_floats z = {0};
            if (j < n) {
                const fm_short_floats y =
                    *(const fm_short_floats *)(to->floats + label[j] * columns + t);
                z = (y * inverse + round) - round;
                const fm_short_floats gap = y - z * ratio;
                rest += gap * gap;
            }
            const fm_short_counts code = __builtin_convertvector(z, fm_short_counts);
            const fm_short_bytes bytes = __builtin_convertvector(code, fm_short_bytes);
            int32_t fours[4];
            memcpy(fours, &bytes, sizeof fours);
            sum += code;
            for (ptrdiff_t i = 0; i < 4 && t / 4 + i < quads; i++)
                codes[(t / 4 + i) * FM_PANEL_WIDTH + j] = fours[i];
        }
        for (int lane = 0; lane < 16; lane++)
            total += sum[lane];
        to->start[first + j] = -128 * total;
        /* Below all that there are, where there is no centre. */
        to->bias[first + j] = j < n ? to->float_bias[label[j]] * inverse : -0x1p100f;
        const float square = fm_short_sum(rest);
        error = square > error ? square : error;
    }
    /* Floats of the centres are off by 2^-23 of them. */
    to->group_norm[g] = norm;
    to->group_error[g] = __builtin_sqrtf(error) * (1 + 0x1p-10f) + norm * 0x1p-21f;
    to->ratio[g] = ratio;
    to->inverse_ratio[g] = inverse;
}

/* Codes of k centres, and what the kernel must know of them. */
static void FM_NAME(shortlist_centers)(const double *c, const void *biases, fm_shortlist *p,
                                       void *memory)
{
    const ptrdiff_t k = p->k, d = p->d, columns = FM_SHORT_FLOATS(d);
    const ptrdiff_t groups = (k + FM_PANEL_WIDTH - 1) / FM_PANEL_WIDTH;
    const ptrdiff_t padded = groups * FM_PANEL_WIDTH;
    fm_short_arrays to;
    double most = 0, sizes[16] = {0};
    float norm = 0, bias = 0, largest = 0;
    float *at = memory, *norms = at;
    at += padded;
    to.codes = (int32_t *)at, at += (d + 3) / 4 * padded;
    to.start = (int32_t *)at, at += padded;
    to.label = (int32_t *)at, at += padded;
    to.place = (int32_t *)at, at += padded;
    to.bias = at, at += padded;
    to.float_bias = at, at += padded;
    to.ratio = at, at += groups;
    to.inverse_ratio = at, at += groups;
    to.group_norm = at, at += groups;
    to.group_error = at, at += groups;
    to.floats = at;
    for (ptrdiff_t i = 0; i < k * d - 15; i += 16)
        for (int l = 0; l < 16; l++) {
            const double size = c[i + l] < 0 ? -c[i + l] : c[i + l];
            sizes[l] = size > sizes[l] ? size : sizes[l];
        }
    for (ptrdiff_t i = k * d / 16 * 16; i < k * d; i++) {
        const double size = c[i] < 0 ? -c[i] : c[i];
        most = size > most ? size : most;
    }
    for (int l = 0; l < 16; l++)
        most = sizes[l] > most ? sizes[l] : most;
    p->unit = most > 0x1p-200 && most < 0x1p200 ? most / 127 : 1;
    const double all = 1 / p->unit;
    for (ptrdiff_t j = 0; j < k; j++) {
        float *y = to.floats + j * columns;
        for (ptrdiff_t t = 0; t < d; t++)
            y[t] = (float)((double)(real)c[j * d + t] * all);
        for (ptrdiff_t t = d; t < columns; t++)
            y[t] = 0;
        norms[j] = __builtin_sqrtf(FM_NAME(short_square)(y, columns, &largest)) * (1 + 0x1p-10f);
        norm = norms[j] > norm ? norms[j] : norm;
        to.float_bias[j] = (float)((double)((const real *)biases)[j] * all * all);
        bias = -to.float_bias[j] > bias ? -to.float_bias[j] : bias;
    }
    /* start is written last. */
    FM_NAME(short_order)(norms, norm > 0 ? norm : 1, k, to.place, to.label, to.start);
    for (ptrdiff_t g = 0; g < groups; g++)
        FM_NAME(short_group)(p, g, norms, &to);
    p->norm = norm;
    p->most_bias = bias * (1 + 0x1p-20f);
    p->rounding = (float)(d + 4) * (sizeof(real) == 4 ? 0x1p-24f : 0x1p-53f);
    p->float_rounding = (float)(d + 16) * 0x1p-23f;
    p->underflow = (double)(d + 2) * (sizeof(real) == 4 ? 0x1p-149 : 0x1p-1074) / p->unit;
    p->codes = to.codes, p->start = to.start, p->label = to.label, p->place = to.place;
    p->bias = to.bias, p->float_bias = to.float_bias, p->floats = to.floats;
    p->ratio = to.ratio, p->inverse_ratio = to.inverse_ratio;
    p->group_norm = to.group_norm, p->group_error = to.group_error;
}

/* Bytes of memory for k centres. */
static ptrdiff_t FM_NAME(shortlist_memory)(ptrdiff_t k, ptrdiff_t d)
{
    const ptrdiff_t groups = (k + FM_PANEL_WIDTH - 1) / FM_PANEL_WIDTH;
    const ptrdiff_t padded = groups * FM_PANEL_WIDTH;
    return 4 * (((d + 3) / 4 + 6) * padded + 4 * groups + k * FM_SHORT_FLOATS(d));
}
