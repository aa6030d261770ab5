/* SPDX-License-Identifier: BSD-3-Clause */
/* Labels that stay proven while centres move little: the bounds of Hamerly (2010), as one number for
 * each row.  What of it does not depend on the dtype.
 *
 * The margin of a row is the least by which it is nearer to the centre of its label than to all
 * others, D_2 - D_1.  A centre that moves by m changes its distance by m at most: a label stays
 * proven until the moves of its own centre and the greatest of all have used up the margin, but for
 * what rounding may hide from kernel assign, which compares scores, s_j = x . c_j - |c_j|^2 / 2:
 *
 *     s_1 - s_2  =  (D_2^2 - D_1^2) / 2  =  (D_2 - D_1) (D_2 - D_1 + 2 D_1) / 2.
 *
 * With D_1 at most u, scores that differ by g or more are of distances that differ by
 * 2 g / (u + (u^2 + 2 g)^(1/2)) at least.
 *
 * Rows whose margin is used up are scanned in whole numbers (margin_scan.inc.h), those that these
 * leave in doubt by kernel assign_leads.
 */
/* Covers the roundings of a few float operations, relative to the largest number that enters. */
#define FM_MARGIN_ROUNDING 0x1p-20f
#ifdef __AVX512F__
#define FM_MARGIN_UNROLL FM_UNROLL
#define FM_MARGIN_INLINE FM_INLINE
#else
/* Tables of shorter vectors serve tests only, and this takes minutes to compile for them. */
#define FM_MARGIN_UNROLL
#define FM_MARGIN_INLINE static __attribute__((noinline))
#endif
/* Rows that are scanned at a time. */
#define FM_MARGIN_VECTORS 4
#define FM_MARGIN_ROWS (16 * FM_MARGIN_VECTORS)
/* A score below all that there are, and a normal float. */
#define FM_MARGIN_NONE (1 << 24)

/* Whether distances differ by so much, for sixteen rows at least as far from their centres as near,
 * that no rounding hides it: in the bits of the result. */
FM_INLINE uint32_t margin_proves(const fm_margins *p, fm_short_floats left, fm_short_floats near)
{
    const fm_short_floats zero = {0};
    left = fm_short_max(left, zero); /* and of what is no number */
    const fm_short_floats gap = left * (left + 2 * fm_short_max(near, zero));
    return (uint32_t)fm_short_reach(gap, p->hidden - zero);
}

/* Bit r of 16: whether the label of a row is not proven; few, where it has candidates: and whether
 * it is one of these. */
FM_INLINE uint32_t margin_flags(const fm_margins *p, const int32_t *label, const float *near,
                                const float *margin, const float *beyond, uint32_t *few)
{
    const fm_short_floats needed = fm_short_take(p->needed, label);
    const fm_short_floats close =
        *(const fm_short_floats *)near - fm_short_take(p->own_moved, label);
    const uint32_t open =
        0xffff ^ margin_proves(p, *(const fm_short_floats *)margin - needed, close);
    if (p->places && open)
        *few = open & margin_proves(p, *(const fm_short_floats *)beyond - needed, close);
    else
        *few = 0;
    return open;
}

static ptrdiff_t margins_open(const fm_margins *p, const int32_t *labels, ptrdiff_t start,
                              ptrdiff_t count, int32_t *list, int32_t *few, ptrdiff_t *n_few)
{
    const ptrdiff_t whole = count / 16 * 16, left = count - whole;
    const float *const beyond = p->places ? p->beyond + start : NULL;
    ptrdiff_t found = 0, chosen = 0;
    uint32_t some = 0;
    for (ptrdiff_t at = 0; at < whole; at += 16) {
        const ptrdiff_t x = start + at;
        const uint32_t open = margin_flags(p, labels + x, p->nears + x, p->margins + x,
                                           p->places ? beyond + at : NULL, &some);
        found += fm_list_flags(open & ~some, (int32_t)at, list + found);
        if (some)
            chosen += fm_list_flags(some, (int32_t)at, few + chosen);
    }
    if (left) {
        const ptrdiff_t x = start + whole;
        const uint32_t all = (1u << left) - 1;
        int32_t label[16] = {0};
        float near[16] = {0}, margin[16] = {0}, more[16] = {0};
        memcpy(label, labels + x, (size_t)left * sizeof *label);
        memcpy(near, p->nears + x, (size_t)left * sizeof *near);
        memcpy(margin, p->margins + x, (size_t)left * sizeof *margin);
        if (p->places)
            memcpy(more, beyond + whole, (size_t)left * sizeof *more);
        const uint32_t open = margin_flags(p, label, near, margin, more, &some) & all;
        found += fm_list_flags(open & ~some, (int32_t)whole, list + found);
        chosen += fm_list_flags(some & all, (int32_t)whole, few + chosen);
    }
    *n_few = chosen;
    return found;
}

/* What a margin of so much now is kept as: moves so far are added. */
FM_INLINE fm_short_floats margin_kept(const float *spent, fm_short_floats now, const int32_t *label)
{
    const fm_short_floats more = fm_short_take(spent, label);
    return now + more - FM_MARGIN_ROUNDING * (more + fm_short_max(now, -now));
}

/* The least difference of distances, the smaller of which has a square of at most `square`, of
 * scores that differ by so much. */
FM_INLINE fm_short_floats margin_ahead(fm_short_floats gap, fm_short_floats square)
{
    gap = fm_short_max(gap, (fm_short_floats){0});
    return 2 * gap / (fm_short_root(square) + fm_short_root(square + 2 * gap)) *
           (1 - FM_MARGIN_ROUNDING);
}

/* Margins of rows from what kernel assign_leads found; those kept so far are the greatest squares of
 * their distances, and of their least distances no moves are kept. */
static void margins_settle(const fm_margins *p, const ptrdiff_t *rows, ptrdiff_t count,
                           const int32_t *labels, const float *leads)
{
    for (ptrdiff_t at = 0; at < count; at += 16) {
        const ptrdiff_t some = count - at < 16 ? count - at : 16;
        float near[16] = {0}, square[16] = {0}, lead[16] = {0};
        int32_t label[16] = {0};
        for (ptrdiff_t i = 0; i < some; i++) {
            near[i] = p->nears[rows[at + i]];
            square[i] = p->margins[rows[at + i]];
            lead[i] = leads[at + i] < FLT_MAX ? leads[at + i] : FLT_MAX / 4;
            label[i] = labels[at + i];
        }
        const fm_short_floats gap =
            *(const fm_short_floats *)lead * (1 - FM_MARGIN_ROUNDING) - p->hidden;
        const fm_short_floats ahead =
            margin_ahead(gap, *(const fm_short_floats *)square + 2 * p->hidden);
        const fm_short_floats margin = margin_kept(p->needed, ahead, label);
        const fm_short_floats close =
            margin_kept(p->own_moved, *(const fm_short_floats *)near, label);
        for (ptrdiff_t i = 0; i < some; i++) {
            p->margins[rows[at + i]] = margin[i];
            p->nears[rows[at + i]] = close[i];
            if (p->places) /* the label may be none of its candidates */
                p->beyond[rows[at + i]] = -FLT_MAX;
        }
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

/* At least |x| of sixteen rows from the squares of their codes, of which each is off by at most
 * FM_MARGIN_GAP. */
#define FM_MARGIN_GAP (0.5 + 0x1p-7)
FM_INLINE fm_short_floats margin_length(fm_short_floats squares, const fm_margins *p)
{
    const float rest = (float)(FM_MARGIN_GAP * __builtin_sqrt((double)p->d));
    return (fm_short_root(squares) + rest) * ((float)p->unit * (1 + 8 * FM_MARGIN_ROUNDING));
}

FM_INLINE fm_short_floats margin_sizes(const int32_t *restrict codes, const fm_margins *p)
{
    fm_short_counts square = {0};
    for (ptrdiff_t t = 0; t < (p->d + 1) / 2; t++) {
        const fm_short_counts two = *(const fm_short_counts *)(codes + t * FM_MARGIN_ROWS);
        square = fm_short_add_pairs(square, two, two);
    }
    return margin_length(__builtin_convertvector(square, fm_short_floats), p);
}

/* Bounds of the distances of sixteen rows from the keys of their centres: the square at most, and
 * the distance at least.  error: of their scores. */
FM_INLINE fm_short_floats margin_square(const fm_margins *p, fm_short_floats size,
                                        fm_short_floats key, fm_short_floats error,
                                        fm_short_floats *least)
{
    const fm_short_floats zero = {0};
    const fm_short_floats score =
        __builtin_convertvector(((fm_short_counts)key & ~p->numbers) - (1 << 30), fm_short_floats) *
        p->score_unit;
    const fm_short_floats more = error + (float)(p->numbers + 1) * p->score_unit;
    const fm_short_floats small =
        fm_short_max(size * (1 - 16 * FM_MARGIN_ROUNDING) - p->size_gap, zero);
    const fm_short_floats square = size * size;
    const fm_short_floats rounding =
        FM_MARGIN_ROUNDING * (square + fm_short_max(score, -score) + more) + 8 * FLT_MIN;
    const fm_short_floats low = small * small - 2 * (score + more) - rounding;
    *least = fm_short_root(fm_short_max(low, zero)) * (1 - FM_MARGIN_ROUNDING);
    return fm_short_max(square - 2 * (score - error), zero) + rounding;
}

/* By how many units at least the score of one key is above that of another. */
FM_INLINE fm_short_floats margin_lead(const fm_margins *p, fm_short_floats one,
                                      fm_short_floats other)
{
    const fm_short_counts lead =
        ((fm_short_counts)one & ~p->numbers) - ((fm_short_counts)other & ~p->numbers);
    return __builtin_convertvector(lead - (p->numbers + 1), fm_short_floats);
}

/* The two greatest keys of a tile's rows.  A key is a score with the centre's number in place of its
 * lowest bits, p->numbers, which are far less than the score's error.  All are positive and below
 * what is no number as a float, so that floats are in the order of whole numbers.
 *
 * in_parts, a constant: the two greatest of each part of the centres instead, and in others the
 * greatest third of one. */
FM_MARGIN_INLINE void margin_keys(const int32_t *restrict codes, const fm_margins *p, int in_parts,
                                  fm_short_floats *restrict first, fm_short_floats *restrict second,
                                  fm_short_floats (*restrict parts)[2][FM_CANDIDATE_PARTS],
                                  fm_short_floats *restrict others)
{
    const fm_short_counts numbers = p->numbers - (fm_short_counts){0};
    const fm_short_floats none =
        (fm_short_floats)((int32_t)(FM_MARGIN_NONE + p->k) - (fm_short_counts){0});
    const ptrdiff_t pairs = (p->d + 1) / 2;
    const int32_t *panel = p->panels;
    for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
        first[v] = second[v] = others[v] = none;
        for (int part = 0; in_parts && part < FM_CANDIDATE_PARTS; part++)
            parts[v][0][part] = parts[v][1][part] = none;
    }
    for (ptrdiff_t j = 0; j < p->k; j += FM_MARGIN_WIDTH) {
        fm_short_counts acc[FM_MARGIN_WIDTH][FM_MARGIN_VECTORS];
        FM_MARGIN_UNROLL
        for (int i = 0; i < FM_MARGIN_WIDTH; i++)
            for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                acc[i][v] = p->starts[j + i] - (fm_short_counts){0};
        for (ptrdiff_t t = 0; t < pairs; t++, panel += FM_MARGIN_WIDTH) {
            fm_short_counts row[FM_MARGIN_VECTORS];
            for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                row[v] = *(const fm_short_counts *)(codes + t * FM_MARGIN_ROWS + 16 * v);
            FM_MARGIN_UNROLL
            for (int i = 0; i < FM_MARGIN_WIDTH; i++) {
                const fm_short_counts center = panel[i] - (fm_short_counts){0};
                for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                    acc[i][v] = fm_short_add_pairs(acc[i][v], row[v], center);
            }
        }
        FM_MARGIN_UNROLL
        for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
            const size_t part = (size_t)j / FM_MARGIN_WIDTH % FM_CANDIDATE_PARTS;
            fm_short_floats *const greatest = in_parts ? &parts[v][0][part] : &first[v];
            fm_short_floats *const greater = in_parts ? &parts[v][1][part] : &second[v];
            fm_short_floats most = *greatest, next = *greater, third = others[v];
            FM_MARGIN_UNROLL
            for (int i = 0; i < FM_MARGIN_WIDTH; i++) {
                const fm_short_counts number = (int32_t)(j + i) - (fm_short_counts){0};
                const fm_short_floats key =
                    (fm_short_floats)((acc[i][v] & ~numbers) | (number & numbers));
                const fm_short_floats less = fm_short_min(most, key);
                most = fm_short_max(most, key);
                if (in_parts)
                    third = fm_short_max(third, fm_short_min(next, less));
                next = fm_short_max(next, less);
            }
            *greatest = most, *greater = next, others[v] = third;
        }
    }
}
