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

/* Every step-th of the terms by Horner's rule, the highest first. */
FM_INLINE vec FM_NAME(polynomial)(vec x, const real *terms, int count, int step)
{
    vec sum = fm_broadcast(terms[0]);
    for (int i = step; i < count; i += step)
        sum = sum * x + fm_broadcast(terms[i]);
    return sum;
}

FM_INLINE vec FM_NAME(exp)(vec t)
{
    const real terms[] = FM_EXP_TERMS;
    /* n in the last bits of the mantissa: the sum is rounded to an integer. */
    const vec shifted = t * fm_broadcast(FM_LOG2_E) + fm_broadcast(FM_EXP_SHIFT);
    const vec n = shifted - fm_broadcast(FM_EXP_SHIFT);
    const vec high = t - n * fm_broadcast(FM_LN2_HIGH);
    const vec f = high - n * fm_broadcast(FM_LN2_LOW);
    const vec square = f * f;
    /* Even and odd powers apart: half as long a chain. */
    const int count = (int)(sizeof terms / sizeof terms[0]);
    const vec odd = FM_NAME(polynomial)(square, terms + count % 2, count - count % 2 - 1, 2);
    const vec even =
        FM_NAME(polynomial)(square, terms + (count + 1) % 2, count - (count + 1) % 2, 2);
    const vec q = odd * f + even;
    const vec rest = q * square + f;
    const vec power = rest + fm_broadcast(1);
    return (vec)((ivec)power + ((ivec)shifted << FM_MANTISSA_BITS));
}

FM_INLINE vec FM_NAME(log)(vec x)
{
    const real terms[] = FM_LOG_TERMS;
    const real_bits one = (real_bits)FM_EXPONENT_BIAS << FM_MANTISSA_BITS;
    const real_bits fraction = ((real_bits)1 << FM_MANTISSA_BITS) - 1;
    const ivec bits = (ivec)x + (one - (real_bits)FM_LOG_FROM);
    const vec reduced = (vec)((bits & fraction) + (real_bits)FM_LOG_FROM);
    /* The biased exponent as a real: the last bits of 2^23 or 2^52, which then leaves again. */
    const vec bias = fm_broadcast((real)((real_bits)1 << FM_MANTISSA_BITS));
    const vec exponent = (vec)((bits >> FM_MANTISSA_BITS) | (ivec)bias);
    const vec n = exponent - (bias + fm_broadcast(FM_EXPONENT_BIAS));
    const vec f = reduced - fm_broadcast(1);
    const vec s = f / (f + fm_broadcast(2));
    const vec z = s * s;
    const vec p = FM_NAME(polynomial)(z, terms, (int)(sizeof terms / sizeof terms[0]), 1);
    const vec inner = f - p * z;
    const vec low = n * fm_broadcast(FM_LN2_LOW) + f;
    const vec rest = low - s * inner;
    return n * fm_broadcast(FM_LN2_HIGH) + rest;
}

/* In place, for the tests; a last partial vector is filled with ones. */
#define FM_FOR_ALL(name, function)                                                                 \
    __attribute__((unused)) static void FM_NAME(name)(void *x, ptrdiff_t count)                    \
    {                                                                                              \
        real *at = x;                                                                              \
        for (; count > 0; count -= FM_LANES, at += FM_LANES) {                                     \
            real values[FM_LANES];                                                                 \
            for (ptrdiff_t i = 0; i < FM_LANES; i++)                                               \
                values[i] = i < count ? at[i] : 1;                                                 \
            fm_store(values, FM_NAME(function)(fm_load(values)));                                  \
            for (ptrdiff_t i = 0; i < FM_LANES && i < count; i++)                                  \
                at[i] = values[i];                                                                 \
        }                                                                                          \
    }
FM_FOR_ALL(exp_all, exp)
FM_FOR_ALL(log_all, log)
#undef FM_FOR_ALL
#define fm_exp FM_NAME(exp)
#define fm_log FM_NAME(log)
