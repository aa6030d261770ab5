/* SPDX-License-Identifier: BSD-3-Clause */
/* exp and log of a vector, the same bits for every table with fused multiply-adds.
 *
 * Included once per dtype, after fm_real.h.  libm's differ between versions and machines, and cost
 * 20 ns a call.  The coefficients are Chebyshev fits made with 60 digits; every expression holds at
 * most one product (see kernels_gaussian.c), and the products with LN2_HIGH are exact, because it
 * ends in zeros.  Greatest errors among 8e6 random arguments, in units in the last place: exp 1.17
 * and log 1.25 in float64, 1.10 and 0.92 in float32 (tests/mixture_main.c refuses 2).
 *
 *     exp(t), |t| <= 700 (f64), 80 (f32):  t = n ln 2 + f, |f| <= ln 2 / 2,
 *                                          e^f = 1 + f + f^2 q(f).
 *     log(x), x positive and normal:       x = 2^n (1 + f), sqrt(1/2) <= 1 + f < sqrt(2),
 *                                          s = f / (2 + f), ln(1 + f) = 2 artanh s
 *                                                                     = f - s (f - s^2 p(s^2)).
 */
#undef FM_EXP_SHIFT
#undef FM_LOG_FROM
#undef FM_MANTISSA_BITS
#undef FM_EXPONENT_BIAS
#undef FM_LN2_HIGH
#undef FM_LN2_LOW
#undef FM_LOG2_E
#undef FM_EXP_TERMS
#undef FM_LOG_TERMS
#ifdef FM_DOUBLE
#define FM_MANTISSA_BITS 52
#define FM_EXPONENT_BIAS 1023
#define FM_EXP_SHIFT 0x1.8p52
#define FM_LN2_HIGH 0x1.62e42fefa38p-1
#define FM_LN2_LOW 0x1.ef35793c7673p-45
#define FM_LOG2_E 0x1.71547652b82fep0
#define FM_LOG_FROM INT64_C(0x3fe6a09e667f3bcd) /* sqrt(1/2) */
#define FM_EXP_TERMS                                                                               \
    {0x1.af38d53857513p-26, 0x1.2891a8c1d838dp-22,                                                 \
     0x1.71de0d9c145d0p-19, 0x1.a019b8ef67c6cp-16,                                                 \
     0x1.a01a01a7c8d47p-13, 0x1.6c16c17893833p-10,                                                 \
     0x1.11111111109adp-7,  0x1.5555555553d4fp-5,                                                  \
     0x1.5555555555556p-3,  0.5}
#define FM_LOG_TERMS                                                                               \
    {0x1.2b5f68a50d903p-3, 0x1.39fdcceb4bb45p-3, 0x1.7462b91b8df65p-3, 0x1.c71c62d5e53e0p-3,       \
     0x1.2492492dfd86cp-2, 0x1.9999999995273p-2, 0x1.5555555555558p-1}
#else
#define FM_MANTISSA_BITS 23
#define FM_EXPONENT_BIAS 127
#define FM_EXP_SHIFT 0x1.8p23f
#define FM_LN2_HIGH 0x1.62e4p-1f
#define FM_LN2_LOW 0x1.7f7d1cp-20f
#define FM_LOG2_E 0x1.715476p0f
#define FM_LOG_FROM 0x3f3504f3 /* sqrt(1/2) */
#define FM_EXP_TERMS {0x1.6d113cp-10f, 0x1.120ba2p-7f, 0x1.55551ap-5f, 0x1.5554dcp-3f, 0.5f}
#define FM_LOG_TERMS {0x1.ddd4dap-3f, 0x1.245c28p-2f, 0x1.9999ecp-2f, 0x1.555556p-1f}
#endif

/* Both of `count` vectors, a constant of at most four, in place and step by step for all of them:
 * the scheduler of a core sees some 60 instructions ahead, of one vector's chain mostly. */
#define FM_EACH                                                                                    \
    FM_UNROLL                                                                                      \
    for (int v = 0; v < count; v++)

FM_INLINE void FM_NAME(exps)(vec *t, int count)
{
    const real terms[] = FM_EXP_TERMS;
    const int n_terms = (int)(sizeof terms / sizeof terms[0]);
    /* Even and odd powers apart by Horner's rule: half as long a chain. */
    const int odd_first = n_terms % 2, even_first = (n_terms + 1) % 2;
    vec shifted[4], square[4], odd[4], even[4];
    /* n in the last bits of the mantissa: the sum is rounded to an integer. */
    FM_EACH shifted[v] = t[v] * fm_broadcast(FM_LOG2_E) + fm_broadcast(FM_EXP_SHIFT);
    FM_EACH
    {
        const vec n = shifted[v] - fm_broadcast(FM_EXP_SHIFT);
        const vec high = t[v] - n * fm_broadcast(FM_LN2_HIGH);
        t[v] = high - n * fm_broadcast(FM_LN2_LOW);
        square[v] = t[v] * t[v];
        odd[v] = fm_broadcast(terms[odd_first]);
        even[v] = fm_broadcast(terms[even_first]);
    }
    FM_UNROLL
    for (int i = 2; i < n_terms; i += 2) {
        if (odd_first + i < n_terms - 1)
            FM_EACH odd[v] = odd[v] * square[v] + fm_broadcast(terms[odd_first + i]);
        if (even_first + i < n_terms)
            FM_EACH even[v] = even[v] * square[v] + fm_broadcast(terms[even_first + i]);
    }
    FM_EACH
    {
        const vec q = odd[v] * t[v] + even[v];
        const vec rest = q * square[v] + t[v];
        const vec power = rest + fm_broadcast(1);
        t[v] = (vec)((ivec)power + ((ivec)shifted[v] << FM_MANTISSA_BITS));
    }
}

FM_INLINE void FM_NAME(logs)(vec *x, int count)
{
    const real terms[] = FM_LOG_TERMS;
    const int n_terms = (int)(sizeof terms / sizeof terms[0]);
    const real_bits one = (real_bits)FM_EXPONENT_BIAS << FM_MANTISSA_BITS;
    const real_bits fraction = ((real_bits)1 << FM_MANTISSA_BITS) - 1;
    /* The biased exponent as a real: the last bits of 2^23 or 2^52, which then leaves again. */
    const vec bias = fm_broadcast((real)((real_bits)1 << FM_MANTISSA_BITS));
    vec n[4], f[4], s[4], z[4], p[4];
    FM_EACH
    {
        const ivec bits = (ivec)x[v] + (one - (real_bits)FM_LOG_FROM);
        const vec reduced = (vec)((bits & fraction) + (real_bits)FM_LOG_FROM);
        const vec exponent = (vec)((bits >> FM_MANTISSA_BITS) | (ivec)bias);
        n[v] = exponent - (bias + fm_broadcast(FM_EXPONENT_BIAS));
        f[v] = reduced - fm_broadcast(1);
        s[v] = f[v] / (f[v] + fm_broadcast(2));
    }
    FM_EACH
    {
        z[v] = s[v] * s[v];
        p[v] = fm_broadcast(terms[0]);
    }
    FM_UNROLL
    for (int i = 1; i < n_terms; i++)
        FM_EACH p[v] = p[v] * z[v] + fm_broadcast(terms[i]);
    FM_EACH
    {
        const vec inner = f[v] - p[v] * z[v];
        const vec low = n[v] * fm_broadcast(FM_LN2_LOW) + f[v];
        const vec rest = low - s[v] * inner;
        x[v] = n[v] * fm_broadcast(FM_LN2_HIGH) + rest;
    }
}
#undef FM_EACH

/* In place; a last partial vector is filled with ones. */
#define FM_FOR_ALL(name, function)                                                                 \
    __attribute__((unused)) static void FM_NAME(name)(void *x, ptrdiff_t count)                    \
    {                                                                                              \
        real *at = x;                                                                              \
        for (; count > 0; count -= FM_LANES, at += FM_LANES) {                                     \
            real values[FM_LANES];                                                                 \
            for (ptrdiff_t i = 0; i < FM_LANES; i++)                                               \
                values[i] = i < count ? at[i] : 1;                                                 \
            vec value = fm_load(values);                                                           \
            FM_NAME(function)(&value, 1);                                                          \
            fm_store(values, value);                                                               \
            for (ptrdiff_t i = 0; i < FM_LANES && i < count; i++)                                  \
                at[i] = values[i];                                                                 \
        }                                                                                          \
    }
FM_FOR_ALL(exp_all, exps)
FM_FOR_ALL(log_all, logs)
#undef FM_FOR_ALL
