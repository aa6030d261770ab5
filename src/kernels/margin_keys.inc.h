/* SPDX-License-Identifier: BSD-3-Clause */
/* Scores in whole numbers (margin_scan.inc.h) of tiles of rows, and what they say of distances: what
 * does not depend on the dtype. */

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
FM_INLINE ptrdiff_t margin_groups(ptrdiff_t k)
{
    return (k + FM_MARGIN_WIDTH - 1) / FM_MARGIN_WIDTH;
}

/* A score below all that there are, and a normal float. */
#define FM_MARGIN_NONE (1 << 24)

/* Rows at .. end of a block, which are fetched `step` at a time between the computations of the rows
 * before.  Listed rows are apart, so that the processor foresees none, and it waits where more lines
 * are on their way than it has buffers.  Seconds of a fit, Zen 4, all at once and so: 2M x 16, K=64:
 * 2.0 and 1.6, 1M x 32, K=256: 6.7 and 5.6. */
typedef struct {
    const fm_matrix *x;
    const fm_block *block;
    const char *more; /* `more_bytes` of each row that are not in x, or NULL */
    ptrdiff_t at, end, step, bytes, more_bytes;
} margin_upcoming;

FM_INLINE void margin_fetch(margin_upcoming *upcoming)
{
    const ptrdiff_t left = upcoming->end - upcoming->at;
    const ptrdiff_t stop = left < upcoming->step ? upcoming->end : upcoming->at + upcoming->step;
    for (; upcoming->at < stop; upcoming->at++) {
        fetch_row(block_row(upcoming->x, upcoming->block, upcoming->at), upcoming->bytes);
        if (upcoming->more)
            fetch_row(upcoming->more + upcoming->block->rows[upcoming->at] * upcoming->more_bytes,
                      upcoming->more_bytes);
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

/* All pairs of columns of a tile's rows, [pair][FM_MARGIN_ROWS], from their codes, [row][stride]. */
FM_INLINE void margin_tile(const int16_t *codes, ptrdiff_t stride, ptrdiff_t columns, int32_t *tile)
{
    for (ptrdiff_t r = 0; r < FM_MARGIN_ROWS; r += 16)
        for (ptrdiff_t t = 0; t < columns; t += 8)
            margin_columns(codes + r * stride + t, stride, tile + t / 2 * FM_MARGIN_ROWS + r,
                           FM_MARGIN_ROWS);
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

/* The two greatest keys of a tile's rows among the k centres of a panel.  A key is a score with the centre's number in place of its
 * lowest bits, p->numbers, which are far less than the score's error.  All are positive and below
 * what is no number as a float, so that floats are in the order of whole numbers.
 *
 * in_parts, a constant: the two greatest of each part of the centres instead, and in others the
 * greatest third of one. */
FM_MARGIN_INLINE void margin_keys(const int32_t *restrict codes, const fm_margins *p,
                                  const int32_t *restrict panel, const int32_t *restrict starts,
                                  ptrdiff_t k, int in_parts, margin_upcoming *upcoming,
                                  fm_short_floats *restrict first, fm_short_floats *restrict second,
                                  fm_short_floats (*restrict parts)[2][FM_CANDIDATE_PARTS],
                                  fm_short_floats *restrict others)
{
    const fm_short_counts numbers = p->numbers - (fm_short_counts){0};
    const fm_short_floats none =
        (fm_short_floats)((int32_t)(FM_MARGIN_NONE + k) - (fm_short_counts){0});
    const ptrdiff_t pairs = (p->d + 1) / 2;
    for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
        first[v] = second[v] = none;
        if (in_parts)
            others[v] = none;
        for (int part = 0; in_parts && part < FM_CANDIDATE_PARTS; part++)
            parts[v][0][part] = parts[v][1][part] = none;
    }
    for (ptrdiff_t j = 0; j < k; j += FM_MARGIN_WIDTH) {
        fm_short_counts acc[FM_MARGIN_WIDTH][FM_MARGIN_VECTORS];
        margin_fetch(upcoming);
        FM_MARGIN_UNROLL
        for (int i = 0; i < FM_MARGIN_WIDTH; i++)
            for (int v = 0; v < FM_MARGIN_VECTORS; v++)
                acc[i][v] = starts[j + i] - (fm_short_counts){0};
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
            fm_short_floats most = *greatest, next = *greater, third = in_parts ? others[v] : next;
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
            *greatest = most, *greater = next;
            if (in_parts)
                others[v] = third;
        }
    }
}

/* The two greatest of all. */
static __attribute__((noinline)) void margin_two(const int32_t *codes, const fm_margins *p,
                                                 const int32_t *panel, const int32_t *starts,
                                                 ptrdiff_t k, margin_upcoming *upcoming,
                                                 fm_short_floats *first, fm_short_floats *second)
{
    margin_keys(codes, p, panel, starts, k, 0, upcoming, first, second, NULL, NULL);
}

typedef int16_t margin_code __attribute__((may_alias));

/* Codes and starts of the centres, of this inverse unit; zeros where that is zero.  Returns the
 * greatest squared error of the codes of a centre, in units. */
static double margin_pack_centers(fm_margins *p, double inverse)
{
    const ptrdiff_t k = p->k, d = p->d, pairs = (d + 1) / 2;
    const double round = 0x1.8p52;
    double error = 0;
    for (ptrdiff_t j = 0; j < margin_groups(k) * FM_MARGIN_WIDTH; j++) {
        const ptrdiff_t first = j / FM_MARGIN_WIDTH * pairs * FM_MARGIN_WIDTH + j % FM_MARGIN_WIDTH;
        margin_code *to = (margin_code *)(p->panels + first);
        double rest = 0;
        for (ptrdiff_t t = 0; t < 2 * pairs; t++) {
            const double value =
                inverse > 0 && j < k && t < d ? p->centers[j * d + t] * inverse : 0;
            const double z = (value + round) - round;
            rest += (value - z) * (value - z);
            to[t / 2 * 2 * FM_MARGIN_WIDTH + t % 2] = (int16_t)z;
            if (p->codes && j < k)
                p->codes[j * FM_CANDIDATE_COLUMNS(d) + t] = (int16_t)z;
        }
        error = rest > error ? rest : error;
        p->starts[j] = FM_MARGIN_NONE;
        if (j < k) {
            const double shift = inverse > 0 ? -p->depths[j] / p->unit * inverse : 0;
            p->starts[j] = (1 << 30) + (int32_t)((shift + round) - round);
        }
    }
    p->starts[k] = FM_MARGIN_NONE;
    for (ptrdiff_t i = 0; p->n_movers && i < FM_MOVER_PLACES; i++) {
        const ptrdiff_t j = p->movers[i];
        p->mover_starts[i] = p->starts[j];
        for (ptrdiff_t t = 0; t < pairs; t++)
            memcpy(p->mover_panels + (i / FM_MARGIN_WIDTH * pairs + t) * FM_MARGIN_WIDTH +
                       i % FM_MARGIN_WIDTH,
                   p->codes + j * FM_CANDIDATE_COLUMNS(d) + 2 * t, sizeof *p->mover_panels);
    }
    return error;
}
