/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors of which some lanes count, for the mixture's exponentials; included after fm_real.h. */
#undef fm_live
#undef fm_not_below
#undef fm_keep
#undef fm_n_live
#undef fm_pack_live
#undef fm_unpack_live

#if FM_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(FM_DOUBLE)
typedef __mmask8 FM_NAME(live);
#define fm_not_below(a, b) _mm512_cmp_pd_mask((__m512d)(a), (__m512d)(b), _CMP_GE_OQ)
#define fm_keep(live, value) ((vec)_mm512_maskz_mov_pd(live, (__m512d)(value)))
#define fm_n_live(live) __builtin_popcount(live)
/* The live lanes side by side from the first on, and back again; zeros in the others. */
#define fm_pack_live(live, value) ((vec)_mm512_maskz_compress_pd(live, (__m512d)(value)))
#define fm_unpack_live(live, value) ((vec)_mm512_maskz_expand_pd(live, (__m512d)(value)))
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512F__)
typedef __mmask16 FM_NAME(live);
#define fm_not_below(a, b) _mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GE_OQ)
#define fm_keep(live, value) ((vec)_mm512_maskz_mov_ps(live, (__m512)(value)))
#define fm_n_live(live) __builtin_popcount(live)
#define fm_pack_live(live, value) ((vec)_mm512_maskz_compress_ps(live, (__m512)(value)))
#define fm_unpack_live(live, value) ((vec)_mm512_maskz_expand_ps(live, (__m512)(value)))
#else
typedef ivec FM_NAME(live);
#define fm_not_below(a, b) ((a) >= (b))
#define fm_keep(live, value) ((vec)((live) & (ivec)(value)))
#endif
#define fm_live FM_NAME(live)
