/* SPDX-License-Identifier: BSD-3-Clause */
/* The vector type of one (ISA, dtype), and the sizes that follow from it.
 *
 * FM_DOUBLE chooses the dtype; the flags of the compilation unit choose the ISA; FM_VECTOR_BYTES
 * overrides its width (tests use it: the bits of a result do not depend on it, because every lane is
 * a row of its own).
 */
#include <stdint.h>

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <immintrin.h>
#endif

#undef real
#undef real_bits
#undef FM_REAL_TYPE
#undef FM_NAME
#undef FM_LANES

#ifndef FM_VECTOR_BYTES
#if defined(__AVX512F__)
#define FM_VECTOR_BYTES 64
#elif defined(__AVX__)
#define FM_VECTOR_BYTES 32
#else
#define FM_VECTOR_BYTES 16
#endif
#endif

/* Register block: TILE_VECTORS vectors of rows x PANEL_WIDTH centres.  Sixteen registers hold 2 x 6
 * accumulators, two rows and one broadcast; thirty-two hold 4 x 6. */
#define FM_PANEL_WIDTH 6
/* Distances by differences need a temporary more, and seeding has few centres: groups of 4. */
#define FM_DISTANCE_WIDTH 4
#if FM_VECTOR_BYTES == 64 || defined(__aarch64__)
#define FM_TILE_VECTORS 4
#else
#define FM_TILE_VECTORS 2
#endif

#ifdef FM_DOUBLE
#define real double
#define FM_REAL_TYPE FM_F64
#define real_bits int64_t
#define FM_NAME(name) name##_f64
#else
#define real float
#define FM_REAL_TYPE FM_F32
#define real_bits int32_t
#define FM_NAME(name) name##_f32
#endif

#define FM_LANES (FM_VECTOR_BYTES / (int)sizeof(real))
#define FM_TILE_ROWS (FM_TILE_VECTORS * FM_LANES)

typedef real FM_NAME(vec)
    __attribute__((vector_size(FM_VECTOR_BYTES), aligned(sizeof(real)), may_alias));
typedef real_bits FM_NAME(ivec) __attribute__((vector_size(FM_VECTOR_BYTES)));
typedef real FM_NAME(quad)
    __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef real_bits FM_NAME(iquad) __attribute__((vector_size(4 * sizeof(real))));
/* Reals anywhere in the user's memory. */
typedef real FM_NAME(user_real) __attribute__((aligned(1), may_alias));
typedef real FM_NAME(user_quad)
    __attribute__((vector_size(4 * sizeof(real)), aligned(1), may_alias));

#undef vec
#undef ivec
#undef quad
#undef iquad
#define vec FM_NAME(vec)
#define ivec FM_NAME(ivec)
#define quad FM_NAME(quad)
#define iquad FM_NAME(iquad)

#define FM_INLINE static inline __attribute__((always_inline))

FM_INLINE vec FM_NAME(load)(const real *from)
{
    return *(const vec *)from;
}
FM_INLINE void FM_NAME(store)(real *to, vec value)
{
    *(vec *)to = value;
}
FM_INLINE vec FM_NAME(broadcast)(real value)
{
    return value - (vec){0};
}
/* Lanes where a > b, for fm_select and fm_iselect: a mask register where there are any.  GCC 12
 * does not find the blends in masks of ones and zeros: two exclusive-ors each instead. */
#if FM_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(FM_DOUBLE)
typedef __mmask8 FM_NAME(mask);
FM_INLINE FM_NAME(mask) FM_NAME(above)(vec a, vec b)
{
    return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ);
}
FM_INLINE vec FM_NAME(select)(FM_NAME(mask) mask, vec yes, vec no)
{
    return (vec)_mm512_mask_blend_pd(mask, (__m512d)no, (__m512d)yes);
}
FM_INLINE ivec FM_NAME(iselect)(FM_NAME(mask) mask, ivec yes, ivec no)
{
    return (ivec)_mm512_mask_blend_epi64(mask, (__m512i)no, (__m512i)yes);
}
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512F__)
typedef __mmask16 FM_NAME(mask);
FM_INLINE FM_NAME(mask) FM_NAME(above)(vec a, vec b)
{
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
}
FM_INLINE vec FM_NAME(select)(FM_NAME(mask) mask, vec yes, vec no)
{
    return (vec)_mm512_mask_blend_ps(mask, (__m512)no, (__m512)yes);
}
FM_INLINE ivec FM_NAME(iselect)(FM_NAME(mask) mask, ivec yes, ivec no)
{
    return (ivec)_mm512_mask_blend_epi32(mask, (__m512i)no, (__m512i)yes);
}
#else
typedef ivec FM_NAME(mask);
FM_INLINE FM_NAME(mask) FM_NAME(above)(vec a, vec b)
{
    return a > b;
}
FM_INLINE vec FM_NAME(select)(FM_NAME(mask) mask, vec yes, vec no)
{
    return (vec)((mask & (ivec)yes) | (~mask & (ivec)no));
}
FM_INLINE ivec FM_NAME(iselect)(FM_NAME(mask) mask, ivec yes, ivec no)
{
    return (mask & yes) | (~mask & no);
}
#endif
/* Greater of two finite values or infinities.  One instruction, where the compiler makes a compare
 * and a blend of select: 2.2 instead of 3.2 cycles per vector and centre at d = 3 (Zen 3). */
FM_INLINE vec FM_NAME(max)(vec a, vec b)
{
#if defined(__aarch64__) && defined(FM_DOUBLE)
    return (vec)vmaxq_f64((float64x2_t)a, (float64x2_t)b);
#elif defined(__aarch64__)
    return (vec)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(FM_DOUBLE)
    return (vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif FM_VECTOR_BYTES == 32 && defined(__AVX__) && defined(FM_DOUBLE)
    return (vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif FM_VECTOR_BYTES == 32 && defined(__AVX__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif FM_VECTOR_BYTES == 16 && defined(__SSE2__) && defined(FM_DOUBLE)
    return (vec)_mm_max_pd((__m128d)a, (__m128d)b);
#elif FM_VECTOR_BYTES == 16 && defined(__SSE2__)
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
#else
    return FM_NAME(select)(FM_NAME(above)(a, b), a, b);
#endif
}
/* A product as it is when rounded: where it is both a factor and an addend, the compiler would be free
 * to fuse it with its sum or not.  Costs nothing where a vector is a register. */
FM_INLINE vec FM_NAME(rounded)(vec product)
{
#if defined(__aarch64__) && FM_VECTOR_BYTES == 16
    __asm__("" : "+w"(product));
#elif defined(__AVX512F__) || (defined(__AVX__) && FM_VECTOR_BYTES == 32)
    __asm__("" : "+v"(product));
#else
    __asm__("" : "+m"(product));
#endif
    return product;
}
/* A number of which the compiler knows nothing.  Sums of squares start from an opaque zero: a
 * square is never -0, so that clang drops a zero that it sees, and is left with the sum of two
 * products and a choice which of them to fuse. */
FM_INLINE real FM_NAME(opaque)(real value)
{
    __asm__("" : "+m"(value));
    return value;
}
/* Is any lane of the mask set? */
FM_INLINE int FM_NAME(any)(ivec mask)
{
#if defined(__aarch64__) && FM_VECTOR_BYTES == 16
    return vmaxvq_u32((uint32x4_t)mask) != 0;
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif FM_VECTOR_BYTES == 32 && defined(__AVX__)
    return !_mm256_testz_si256((__m256i)mask, (__m256i)mask);
#elif FM_VECTOR_BYTES == 16 && defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)mask) != 0;
#else
    real_bits all = 0;
    for (int lane = 0; lane < FM_LANES; lane++)
        all |= mask[lane];
    return all != 0;
#endif
}
#if FM_VECTOR_BYTES == 64 && defined(__AVX512VL__)
#undef FM_PACKS_LANES
#define FM_PACKS_LANES
#endif
/* Of eight values r w (w NULL: 1) the positive ones, in order, and their positions from `first` on;
 * returns how many.  Memory behind them is overwritten, eight elements in all.  0.2 ns a value with
 * instructions that pack lanes, 0.7 without (Zen 4). */
FM_INLINE ptrdiff_t FM_NAME(pack_positive)(const real *r, const double *w, int32_t first,
                                           int32_t *list, double *out)
{
#ifdef FM_PACKS_LANES
#ifdef FM_DOUBLE
    __m512d value = _mm512_loadu_pd(r);
#else
    __m512d value = _mm512_cvtps_pd(_mm256_loadu_ps(r));
#endif
    if (w)
        value *= _mm512_loadu_pd(w);
    const __mmask8 positive = _mm512_cmp_pd_mask(value, _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m256i position = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) + _mm256_set1_epi32(first);
    _mm512_storeu_pd(out, _mm512_maskz_compress_pd(positive, value));
    _mm256_storeu_si256((__m256i *)list, _mm256_maskz_compress_epi32(positive, position));
    return __builtin_popcount(positive);
#else
    ptrdiff_t found = 0;
    for (int i = 0; i < 8; i++) {
        const double value = w ? (double)r[i] * w[i] : (double)r[i];
        list[found] = first + i;
        out[found] = value;
        found += value > 0;
    }
    return found;
#endif
}
#define fm_mask FM_NAME(mask)
#define fm_above FM_NAME(above)
#define fm_max FM_NAME(max)
#define fm_opaque FM_NAME(opaque)
#define fm_rounded FM_NAME(rounded)
#define fm_select FM_NAME(select)
#define fm_iselect FM_NAME(iselect)
#define fm_load FM_NAME(load)
#define fm_store FM_NAME(store)
#define fm_broadcast FM_NAME(broadcast)
#define fm_user_quad(from) (*(const FM_NAME(user_quad) *)(from))
/* A loop of so few constant turns that its arrays are to become registers. */
#ifdef __clang__
#define FM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FM_UNROLL _Pragma("GCC unroll 16")
#endif
/* Lanes of two vectors, as many as one has, by constant numbers; mask: a vector of such integers. */
#ifdef __clang__
#define fm_mix(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define fm_mix(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif
#define fm_shuffle(a, b, ...) fm_mix(iquad, a, b, __VA_ARGS__)

/* Bit i of 16: whether a[i] and b[i] differ. */
#ifndef FM_FLAGS_ONCE
#define FM_FLAGS_ONCE
FM_INLINE uint32_t fm_differences(const int32_t *a, const int32_t *b)
{
#if defined(__AVX512F__)
    return _mm512_cmpneq_epi32_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b));
#else
    uint32_t bits = 0;
#if defined(__AVX2__)
    for (int i = 0; i < 16; i += 8) {
        const __m256i equal = _mm256_cmpeq_epi32(_mm256_loadu_si256((const __m256i *)(a + i)),
                                                 _mm256_loadu_si256((const __m256i *)(b + i)));
        bits |= (0xffu & ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(equal))) << i;
    }
#else
    for (int i = 0; i < 16; i++)
        bits |= (uint32_t)(a[i] != b[i]) << i;
#endif
    return bits;
#endif
}

/* Of up to sixteen flags the positions of those set, from `first` on; 16 elements are written. */
FM_INLINE ptrdiff_t fm_list_flags(uint32_t flags, int32_t first, int32_t *to)
{
#ifdef __AVX512F__
    const __m512i position =
        _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(first));
    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32((__mmask16)flags, position));
    return __builtin_popcount(flags);
#else
    ptrdiff_t found = 0;
    for (; flags; flags &= flags - 1)
        to[found++] = first + __builtin_ctz(flags);
    return found;
#endif
}
#endif
