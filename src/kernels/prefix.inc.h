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
#define FM_PREFIX_NONE 0x40000000 /* above every |q|^2 / 2, and sums with two of them fit */

typedef int32_t fm_int8 __attribute__((vector_size(32), aligned(4), may_alias));
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
        half[r] = squares[r] <= p->reach_square ? square[r] / 2 : -FM_PREFIX_NONE;
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

FM_INLINE fm_int8 greater_of(fm_int8 a, fm_int8 b)
{
    return (fm_int8)((a & (a > b)) | (b & ~(a > b)));
}

#ifdef __clang__
#define FM_MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FM_MIX(a, b, ...) __builtin_shuffle(a, b, (fm_int8){__VA_ARGS__})
#endif
/* Lane r: the greatest lane of a[r]. */
FM_INLINE fm_int8 greatest_lanes(const fm_int8 a[8])
{
    fm_int8 two[4], four[2];
    for (int i = 0; i < 4; i++)
        two[i] = greater_of(FM_MIX(a[2 * i], a[2 * i + 1], 0, 8, 2, 10, 4, 12, 6, 14),
                            FM_MIX(a[2 * i], a[2 * i + 1], 1, 9, 3, 11, 5, 13, 7, 15));
    for (int i = 0; i < 2; i++)
        four[i] = greater_of(FM_MIX(two[2 * i], two[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13),
                             FM_MIX(two[2 * i], two[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15));
    return greater_of(FM_MIX(four[0], four[1], 0, 1, 2, 3, 8, 9, 10, 11),
                      FM_MIX(four[0], four[1], 4, 5, 6, 7, 12, 13, 14, 15));
}
#undef FM_MIX

/* max_c q_x . q_c - |q_c|^2 / 2 of eight rows over the centres of n_panels panels, where not NULL
 * without the skip[r]-th.  Not inlined: GCC 12 then keeps the accumulators in registers, and not what
 * its caller will need. */
static __attribute__((noinline)) void prefix_scores(const int16_t *const row[8], ptrdiff_t pairs,
                                                    const int32_t *panel, const int32_t *bias,
                                                    ptrdiff_t n_panels, const int32_t *skip,
                                                    int32_t *greatest)
{
    fm_int8 best = (fm_int8){0} - 2 * (FM_PREFIX_NONE - 1);
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
        if (skip) {
            const fm_int8 lane = (fm_int8){0, 1, 2, 3, 4, 5, 6, 7} + (int32_t)(8 * p);
            for (int r = 0; r < 8; r++) {
                const fm_int8 hidden = lane == skip[r];
                acc[r] = (hidden & -FM_PREFIX_NONE) | (~hidden & acc[r]);
            }
        }
        best = greater_of(best, greatest_lanes(acc));
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
    enum {
        ROWS = 64
    };
    const float inverse = 1 / b->step, slack = FM_BOUND_ROUNDING * b->reach;
    const float moved = b->group_reach[group], error = 2 * (float)p->error;
    const float unit = (float)p->step * (1 - FM_BOUND_ROUNDING);
    const int32_t shift = b->group_moved[group], column = (int32_t)(8 * panel);
    const int32_t *panels = p->panels + panel * p->pairs * 8, *biases = p->biases + panel * 8;
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i += ROWS) {
        const ptrdiff_t left = count - i < ROWS ? count - i : ROWS;
        const int16_t *row[ROWS];
        int16_t *code[ROWS];
        int32_t half[ROWS], skip[ROWS], score[ROWS], proven[ROWS], needed[ROWS], skips = 0;
        float near[ROWS];
        for (ptrdiff_t r = 0; r < left; r++) {
            const ptrdiff_t at = list[i + r], x = start + open->rows[at];
            const int32_t label = b->labels[x];
            row[r] = p->rows + x * 2 * p->pairs;
            half[r] = p->half[x];
            near[r] = open->near[at];
            code[r] = b->codes + x * b->stride + group;
            skip[r] = b->group_of[label] == group ? p->column_of[label] - column : -1;
            skips |= ~skip[r];
        }
        for (ptrdiff_t r = left; r < (left + 7) / 8 * 8; r++)
            row[r] = row[left - 1], skip[r] = -1;
        for (ptrdiff_t r = 0; r < left; r += 8)
            prefix_scores(row + r, p->pairs, panels, biases, n_panels, skips ? skip + r : NULL,
                          score + r);
        for (ptrdiff_t r = 0; r < left; r++) {
            const int32_t gap = half[r] - score[r];
            const float low = __builtin_sqrtf(2 * (float)(gap > 0 ? gap : 0)) * unit - error;
            proven[r] = code_of(low > 0 ? low : 0, moved, inverse);
            const int32_t least = code_needed(b, near[r] + slack, inverse);
            needed[r] = least < FM_CODE_HALF ? least + shift : FM_CODE_NONE;
        }
        for (ptrdiff_t r = 0; r < left; r++) {
            const int32_t known = proven[r] > *code[r] ? proven[r] : *code[r];
            *code[r] = (int16_t)known;
            list[found] = list[i + r];
            found += known < needed[r];
        }
    }
    return found;
}

/* The first count open rows, with what is known of the distance to their labels' centres: lists
 * those that at most `few` groups are open for with these groups. */
static void prefix_wanted(const fm_bounds *b, fm_open *open, ptrdiff_t start, ptrdiff_t count,
                          ptrdiff_t few)
{
    const float inverse = 1 / b->step, slack = FM_BOUND_ROUNDING * b->reach;
    for (ptrdiff_t p = 0; p < count; p++) {
        const ptrdiff_t x = start + open->rows[p];
        const int16_t *code = b->codes + x * b->stride;
        ptrdiff_t found = 0;
        open->near[p] = b->upper[x] + b->moved[b->labels[x]];
        const int16_t needed = code_needed(b, open->near[p] + slack, inverse);
        for (ptrdiff_t g = 0; g < b->stride && found <= few; g += 8)
            found += __builtin_popcountll(
                eight_flags(groups_open(code + g, b->group_moved + g, needed)));
        if (found > few)
            continue;
        for (ptrdiff_t g = 0; g < b->stride; g += 8)
            for (uint64_t left = eight_flags(groups_open(code + g, b->group_moved + g, needed));
                 left; left &= left - 1) {
                const ptrdiff_t group = g + __builtin_ctzll(left);
                open->lists[group * open->room + open->counts[group]++] = (int32_t)p;
            }
    }
}
