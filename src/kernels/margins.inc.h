/* SPDX-License-Identifier: BSD-3-Clause */
/* Labels that stay proven while centres move little: the lower bound of Hamerly (2010), one for
 * each row, of scores instead of distances.  What of it does not depend on the dtype.
 *
 * The margin of a row is the least by which the score of its label, s_j = x . c_j - |c_j|^2 / 2, is
 * above all others.  A centre that moves by m, and its bias by n, changes its score by |x| m + n at
 * most: a label stays proven until the moves of its own centre and the greatest of all have used up
 * the margin, but for what rounding may hide from kernel assign.
 *
 * Rows whose margin is used up are scanned in whole numbers (margin_scan.inc.h), those that these
 * leave in doubt by kernel assign_leads.
 */
/* Covers the roundings of a few float operations, relative to the largest number that enters. */
#define FM_MARGIN_ROUNDING 0x1p-20f

/* Bit r of 16: whether the label of a row is not proven. */
FM_INLINE uint32_t margin_flags(const fm_margins *p, const int32_t *label, const float *size,
                                const float *margin)
{
    const fm_short_floats moved = fm_short_take(p->size_needed, label) + p->size_hidden;
    const fm_short_floats more = fm_short_take(p->needed, label) + p->hidden;
    const fm_short_floats needed = *(const fm_short_floats *)size * moved + more;
    return 0xffff ^ (uint32_t)fm_short_reach(*(const fm_short_floats *)margin,
                                             needed * (1 + FM_MARGIN_ROUNDING));
}

static ptrdiff_t margins_open(const fm_margins *p, const int32_t *labels, ptrdiff_t start,
                              ptrdiff_t count, int32_t *list)
{
    const ptrdiff_t whole = count / 16 * 16, left = count - whole;
    ptrdiff_t found = 0;
    for (ptrdiff_t at = 0; at < whole; at += 16) {
        const ptrdiff_t x = start + at;
        const uint32_t open = margin_flags(p, labels + x, p->sizes + x, p->margins + x);
        found += fm_list_flags(open, (int32_t)at, list + found);
    }
    if (left) {
        const ptrdiff_t x = start + whole;
        int32_t label[16] = {0};
        float size[16] = {0}, margin[16] = {0};
        memcpy(label, labels + x, (size_t)left * sizeof *label);
        memcpy(size, p->sizes + x, (size_t)left * sizeof *size);
        memcpy(margin, p->margins + x, (size_t)left * sizeof *margin);
        const uint32_t open = margin_flags(p, label, size, margin) & ((1u << left) - 1);
        found += fm_list_flags(open, (int32_t)whole, list + found);
    }
    return found;
}

/* What a margin of so much now is kept as: moves so far are added. */
FM_INLINE fm_short_floats margin_kept(const fm_margins *p, fm_short_floats ahead,
                                      fm_short_floats size, const int32_t *label)
{
    const fm_short_floats spent =
        size * fm_short_take(p->size_needed, label) + fm_short_take(p->needed, label);
    return ahead + spent - FM_MARGIN_ROUNDING * (spent + fm_short_max(ahead, -ahead));
}

static void margins_settle(const fm_margins *p, const ptrdiff_t *rows, ptrdiff_t count,
                           const int32_t *labels, const float *leads)
{
    for (ptrdiff_t at = 0; at < count; at += 16) {
        const ptrdiff_t some = count - at < 16 ? count - at : 16;
        float size[16] = {0}, lead[16] = {0};
        int32_t label[16] = {0};
        for (ptrdiff_t i = 0; i < some; i++) {
            size[i] = p->sizes[rows[at + i]];
            lead[i] = leads[at + i] < FLT_MAX ? leads[at + i] : FLT_MAX / 4;
            label[i] = labels[at + i];
        }
        const fm_short_floats sizes = *(const fm_short_floats *)size;
        const fm_short_floats hidden =
            (sizes * p->size_hidden + p->hidden) * (1 + FM_MARGIN_ROUNDING);
        const fm_short_floats ahead = *(const fm_short_floats *)lead * (1 - FM_MARGIN_ROUNDING);
        const fm_short_floats margin = margin_kept(p, ahead - hidden, sizes, label);
        for (ptrdiff_t i = 0; i < some; i++)
            p->margins[rows[at + i]] = margin[i];
    }
}

/* Four pairs of columns of sixteen rows, as [pair][stride]. */
FM_INLINE void margin_columns(const int16_t *from, ptrdiff_t row, int32_t *to, ptrdiff_t stride)
{
#ifdef __AVX512F__
    __m512i four[4];
    for (int i = 0; i < 4; i++) { /* rows i, 4 + i, 8 + i, 12 + i */
#define FM_ROW(r) _mm_loadu_si128((const __m128i *)(from + (r) * row))
        four[i] = _mm512_castsi128_si512(FM_ROW(i));
        four[i] = _mm512_inserti32x4(four[i], FM_ROW(4 + i), 1);
        four[i] = _mm512_inserti32x4(four[i], FM_ROW(8 + i), 2);
        four[i] = _mm512_inserti32x4(four[i], FM_ROW(12 + i), 3);
#undef FM_ROW
    }
    const __m512i low = _mm512_unpacklo_epi32(four[0], four[1]);
    const __m512i high = _mm512_unpackhi_epi32(four[0], four[1]);
    const __m512i more_low = _mm512_unpacklo_epi32(four[2], four[3]);
    const __m512i more_high = _mm512_unpackhi_epi32(four[2], four[3]);
    _mm512_storeu_si512(to, _mm512_unpacklo_epi64(low, more_low));
    _mm512_storeu_si512(to + stride, _mm512_unpackhi_epi64(low, more_low));
    _mm512_storeu_si512(to + 2 * stride, _mm512_unpacklo_epi64(high, more_high));
    _mm512_storeu_si512(to + 3 * stride, _mm512_unpackhi_epi64(high, more_high));
#else
    for (int r = 0; r < 16; r++) {
        int32_t four[4];
        memcpy(four, from + r * row, sizeof four);
        for (int i = 0; i < 4; i++)
            to[i * stride + r] = four[i];
    }
#endif
}

#define FM_MARGIN_VECTORS 4
#define FM_MARGIN_ROWS (16 * FM_MARGIN_VECTORS)

/* Bounds of |x| of sixteen rows from their codes, of which each is off by at most FM_MARGIN_GAP. */
#define FM_MARGIN_GAP (0.5 + 0x1p-7)
FM_INLINE fm_short_floats margin_sizes(const int32_t *restrict codes, const fm_margins *p)
{
    fm_short_counts square = {0};
    for (ptrdiff_t t = 0; t < (p->d + 1) / 2; t++) {
        const fm_short_counts two = *(const fm_short_counts *)(codes + t * FM_MARGIN_ROWS);
        square = fm_short_add_pairs(square, two, two);
    }
    const float rest = (float)(FM_MARGIN_GAP * __builtin_sqrt((double)p->d));
    const fm_short_floats length =
        fm_short_root(__builtin_convertvector(square, fm_short_floats)) + rest;
    return length * ((float)p->unit * (1 + 8 * FM_MARGIN_ROUNDING));
}

/* The two greatest scores of a tile's rows, and the first one's label.  All are positive and below
 * what is no number as a float, so that floats are in the order of whole numbers. */
FM_INLINE void margin_scores(const int32_t *restrict codes, const fm_margins *p,
                             fm_short_floats *restrict first, fm_short_floats *restrict second,
                             fm_short_counts *restrict label)
{
    const ptrdiff_t pairs = (p->d + 1) / 2;
    const int32_t *panel = p->panels;
    for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
        first[v] = second[v] = (fm_short_floats){0};
        label[v] = (fm_short_counts){0};
    }
    for (ptrdiff_t j = 0; j < p->k; j += FM_MARGIN_WIDTH) {
        fm_short_counts acc[FM_MARGIN_WIDTH][FM_MARGIN_VECTORS];
        FM_UNROLL
        for (int i = 0; i < FM_MARGIN_WIDTH; i++)
            for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                acc[i][v] = p->starts[j + i] - (fm_short_counts){0};
        for (ptrdiff_t t = 0; t < pairs; t++, panel += FM_MARGIN_WIDTH) {
            fm_short_counts row[FM_MARGIN_VECTORS];
            for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                row[v] = *(const fm_short_counts *)(codes + t * FM_MARGIN_ROWS + 16 * v);
            FM_UNROLL
            for (int i = 0; i < FM_MARGIN_WIDTH; i++) {
                const fm_short_counts center = panel[i] - (fm_short_counts){0};
                for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                    acc[i][v] = fm_short_add_pairs(acc[i][v], row[v], center);
            }
        }
        FM_UNROLL
        for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
            fm_short_floats most = first[v], next = second[v];
            fm_short_counts at = label[v];
            FM_UNROLL
            for (int i = 0; i < FM_MARGIN_WIDTH; i++) {
                const fm_short_floats score = (fm_short_floats)acc[i][v];
                at = fm_short_replace(score, most, (int32_t)(j + i), at);
                next = fm_short_max(next, fm_short_min(most, score));
                most = fm_short_max(most, score);
            }
            first[v] = most, second[v] = next, label[v] = at;
        }
    }
}
