/* SPDX-License-Identifier: BSD-3-Clause */
/* Lower bounds of distances from leading coordinates in 16 bits.
 *
 * With U (m, d) of orthonormal rows, the map x -> (U x, sqrt(|x|^2 - |U x|^2)) brings no two points
 * farther apart.  Rows and centres are kept as q, that image divided by a step and rounded; each is
 * off by at most `error`, which the driver proves, so that
 *
 *     |x - c|  >=  step |q_x - q_c| - 2 error,     |q_x - q_c|^2 = |q_x|^2 - 2 (q_x . q_c - |q_c|^2 / 2).
 *
 * |q| <= 2^15 - 768: with |q_c|^2 / 2 and |q_x|^2 / 2 rounded down, every sum below fits 32 bits
 * exactly, by Cauchy-Schwarz, and halves of squared differences are not overestimated.  Points
 * beyond the range are kept as zero, with halves of which nothing follows.
 */
typedef uint32_t fm_unsigned8 __attribute__((vector_size(32)));

/* Rows of one call of kernel project, whose output y is [coordinate][FM_PROJECTED_ROWS]. */
static void prefix_quantise(const double *y, const double *squares, ptrdiff_t count, ptrdiff_t m,
                            const fm_prefix *p, int16_t *rows, int32_t *half)
{
    const ptrdiff_t width = 2 * p->pairs;
    const double inverse = 1 / p->step, round = 0x1.8p52;
    double rest[FM_PROJECTED_ROWS];
    int32_t square[FM_PROJECTED_ROWS] = {0};
    for (ptrdiff_t r = 0; r < count; r++)
        rest[r] = squares[r];
    for (ptrdiff_t t = 0; t < width; t++)
        for (ptrdiff_t r = 0; r < count; r++) {
            double value = 0;
            if (t < m) {
                value = y[t * FM_PROJECTED_ROWS + r];
                rest[r] -= value * value;
            } else if (t == m) {
                value = __builtin_sqrt(rest[r] > 0 ? rest[r] : 0);
            }
            const double code = squares[r] <= p->reach_square ? value * inverse : 0;
            const int32_t q = (int32_t)((code + round) - round);
            rows[r * width + t] = (int16_t)q;
            square[r] += q * q;
        }
    for (ptrdiff_t r = 0; r < count; r++)
        half[r] = squares[r] <= p->reach_square ? square[r] / 2 : -FM_SCORE_NONE;
}

/* Eight centres' (q_0, q_1) of a pair of coordinates, with those of one row: acc += q_x . q_c. */
#ifdef __AVX2__
typedef __m256i fm_center_pairs;
#define fm_center_pairs_of(from) _mm256_loadu_si256((const __m256i *)(from))
#define fm_add_products(acc, centers, row)                                                         \
    (fm_int8) _mm256_add_epi32((__m256i)(acc), _mm256_madd_epi16(centers, _mm256_set1_epi32(row)))
#else
typedef struct {
    fm_int8 first, second;
} fm_center_pairs;
FM_INLINE fm_center_pairs fm_center_pairs_of(const int32_t *from)
{
    const fm_int8 both = *(const fm_int8 *)from;
    const fm_int8 first = (fm_int8)((fm_unsigned8)both << 16) >> 16;
    return (fm_center_pairs){first, both >> 16};
}
FM_INLINE fm_int8 fm_add_products(fm_int8 acc, fm_center_pairs centers, int32_t row)
{
    return acc + centers.first * (int32_t)(int16_t)row + centers.second * (row >> 16);
}
#endif

/* max_c q_x . q_c - |q_c|^2 / 2 of eight rows over the centres of n_panels panels, where not NULL
 * without the skip[r]-th.  Not inlined: GCC 12 then keeps the accumulators in registers, and not what
 * its caller will need. */
static __attribute__((noinline)) void prefix_scores(const int16_t *const row[8], ptrdiff_t pairs,
                                                    const int32_t *panel, const int32_t *bias,
                                                    ptrdiff_t n_panels, const int32_t *skip,
                                                    int32_t *greatest)
{
    fm_int8 best = (fm_int8){0} - 2 * (FM_SCORE_NONE - 1);
    for (ptrdiff_t p = 0; p < n_panels; p++) {
        fm_int8 acc[8];
        for (int r = 0; r < 8; r++)
            acc[r] = *(const fm_int8 *)(bias + 8 * p);
        for (ptrdiff_t t = 0; t < pairs; t++, panel += 8) {
            const fm_center_pairs centers = fm_center_pairs_of(panel);
            FM_UNROLL
            for (int r = 0; r < 8; r++) {
                int32_t both;
                memcpy(&both, row[r] + 2 * t, sizeof both);
                acc[r] = fm_add_products(acc[r], centers, both);
            }
        }
        best = greatest_scores(best, acc, skip, 8 * p, FM_SCORE_NONE);
    }
    *(fm_int8 *)greatest = best;
}

/* Raises the codes of rows list[0 .. count) for a group of n_panels panels from `panel` on to what
 * the leading coordinates prove; keeps in list, in order, those for which the group may still hold
 * a nearer centre, and returns how many. */
static ptrdiff_t prefix_scan(const fm_bounds *b, const fm_prefix *p, ptrdiff_t group,
                             ptrdiff_t panel, ptrdiff_t n_panels, ptrdiff_t start,
                             const fm_open *open, int32_t *list, ptrdiff_t count)
{
    const float error = 2 * (float)p->error;
    const float unit = (float)p->step * (1 - FM_BOUND_ROUNDING);
    const int32_t *panels = p->panels + panel * p->pairs * 8, *biases = p->biases + panel * 8;
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i += FM_GROUP_ROWS) {
        const fm_group_rows rows =
            group_rows_of(b, open, start, list + i, count - i, group, p->column_of, 8 * panel);
        const int16_t *row[FM_GROUP_ROWS];
        int32_t score[FM_GROUP_ROWS];
        float low[FM_GROUP_ROWS];
        for (ptrdiff_t r = 0; r < (rows.count + 7) / 8 * 8; r++)
            row[r] = p->rows + rows.row[r < rows.count ? r : rows.count - 1] * 2 * p->pairs;
        for (ptrdiff_t r = 0; r < rows.count; r += 8)
            prefix_scores(row + r, p->pairs, panels, biases, n_panels,
                          rows.skips ? rows.skip + r : NULL, score + r);
        for (ptrdiff_t r = 0; r < rows.count; r++) {
            const int32_t gap = p->half[rows.row[r]] - score[r];
            low[r] = __builtin_sqrtf(2 * (float)(gap > 0 ? gap : 0)) * unit - error;
        }
        found += raise_codes(b, group, &rows, low, list + i, list + found);
    }
    return found;
}
