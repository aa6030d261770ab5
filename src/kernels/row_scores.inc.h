/* SPDX-License-Identifier: BSD-3-Clause */
/* Scores of rows picked one by one against few centres: eight centres in the lanes, eight rows at a
 * time, read as they lie in memory.  Each score is the chain of fused multiply-adds of assign.inc.h,
 * so it has the same bits; no tile is packed, which for eight centres would cost more than to
 * compute.
 */

/* Rows whose accumulators fit the registers. */
#if defined(__AVX512F__) || (!defined(FM_DOUBLE) && (defined(__AVX__) || defined(__aarch64__)))
#define FM_ROW_BLOCK 8
#else
#define FM_ROW_BLOCK 4
#endif

/* Rows whose scores are gathered before their greatest is looked for, with rows in the lanes. */
#define FM_PICKED_ROWS FM_PROJECTED_ROWS

/* Eight lanes in as many parts as the processor's registers ask for: products and sums in vectors
 * that are wider are fused or not as the compiler likes. */
#if defined(__AVX512F__)
#define FM_REGISTER_BYTES 64
#elif defined(__AVX__)
#define FM_REGISTER_BYTES 32
#else
#define FM_REGISTER_BYTES 16
#endif
#if defined(FM_DOUBLE) || FM_REGISTER_BYTES < 32
#define FM_PART_BYTES FM_REGISTER_BYTES
#else
#define FM_PART_BYTES 32
#endif
#define FM_PARTS (8 * (int)sizeof(real) / FM_PART_BYTES)
#define FM_PART_LANES (8 / FM_PARTS)
typedef real FM_NAME(part)
    __attribute__((vector_size(FM_PART_BYTES), aligned(sizeof(real)), may_alias));
typedef real FM_NAME(vec8)
    __attribute__((vector_size(8 * sizeof(real)), aligned(sizeof(real)), may_alias));
typedef real_bits FM_NAME(ivec8) __attribute__((vector_size(8 * sizeof(real))));

/* a[i][l] <-> a[l][i], in three steps of exchanges at distance 1, 2 and 4. */
#define FM_EXCHANGE(a, b, low, high)                                                               \
    {                                                                                              \
        const FM_NAME(vec8) kept = a;                                                              \
        a = fm_mix(FM_NAME(ivec8), kept, b, low);                                                  \
        b = fm_mix(FM_NAME(ivec8), kept, b, high);                                                 \
    }
#define FM_LOW_1 0, 8, 2, 10, 4, 12, 6, 14
#define FM_HIGH_1 1, 9, 3, 11, 5, 13, 7, 15
#define FM_LOW_2 0, 1, 8, 9, 4, 5, 12, 13
#define FM_HIGH_2 2, 3, 10, 11, 6, 7, 14, 15
#define FM_LOW_4 0, 1, 2, 3, 8, 9, 10, 11
#define FM_HIGH_4 4, 5, 6, 7, 12, 13, 14, 15
FM_INLINE void FM_NAME(transpose8)(FM_NAME(vec8) a[8])
{
    for (int i = 0; i < 8; i += 2)
        FM_EXCHANGE(a[i], a[i + 1], FM_LOW_1, FM_HIGH_1)
    for (int i = 0; i < 8; i++)
        if (!(i & 2))
            FM_EXCHANGE(a[i], a[i + 2], FM_LOW_2, FM_HIGH_2)
    for (int i = 0; i < 4; i++)
        FM_EXCHANGE(a[i], a[i + 4], FM_LOW_4, FM_HIGH_4)
}

/* Eight columns of a row in the frame, and what they add to its square. */
FM_INLINE void FM_NAME(frame_eight)(const char *from, const real *offset, real scale, real *to,
                                    FM_NAME(part) sums[FM_PARTS])
{
    FM_UNROLL
    for (int q = 0; q < FM_PARTS; q++) {
        FM_NAME(part) y;
        memcpy(&y, from + q * FM_PART_LANES * (ptrdiff_t)sizeof(real), sizeof y);
        y = y * scale - *(const FM_NAME(part) *)(offset + q * FM_PART_LANES);
        *(FM_NAME(part) *)(to + q * FM_PART_LANES) = y;
        sums[q] += y * y;
    }
}

static void FM_NAME(gather)(const fm_matrix *x, const fm_block *block, const void *offsets,
                            double scale_, const int32_t *places, void *rows, void *squares,
                            void *scratch)
{
    const real *restrict offset = offsets, scale = (real)scale_;
    const ptrdiff_t d = x->d, size = (ptrdiff_t)sizeof(real), whole = d / 8 * 8;
    const int by_row = FM_NAME(rows_lie_dense)(x);
    const ptrdiff_t ahead = 16, bytes = d * size < 1024 ? d * size : 1024;
    for (ptrdiff_t i = 0; i < block->count; i++) {
        const ptrdiff_t place = places ? places[i] : i;
        real *restrict to = (real *)rows + place * d;
        if (by_row && i + ahead < block->count)
            fetch_row(block_row(x, block, i + ahead), bytes);
        const char *row = block_row(x, block, i);
        if (!by_row) {
            FM_NAME(load_run)(row, x->col_stride, x->type, x->swapped, d, scratch);
            row = scratch;
        }
        FM_NAME(part) sums[FM_PARTS] = {{0}};
        for (ptrdiff_t t = 0; t < whole; t += 8)
            FM_NAME(frame_eight)(row + t * size, offset + t, scale, to + t, sums);
        if (whole < d) {
            real left[8] = {0}, shift[8] = {0}, value[8];
            memcpy(left, row + whole * size, (size_t)(d - whole) * sizeof(real));
            memcpy(shift, offset + whole, (size_t)(d - whole) * sizeof(real));
            FM_NAME(frame_eight)((const char *)left, shift, scale, value, sums);
            memcpy(to + whole, value, (size_t)(d - whole) * sizeof(real));
        }
        real sum[8];
        for (int q = 0; q < FM_PARTS; q++)
            *(FM_NAME(part) *)(sum + q * FM_PART_LANES) = sums[q];
        ((real *)squares)[place] =
            ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    }
}

/* out[c * FM_PICKED_ROWS + r]: scores of eight rows against the eight centres of a panel. */
FM_INLINE void FM_NAME(panel_scores)(const real *const row[8], ptrdiff_t d, const real *panel,
                                     const real *bias, real *out)
{
    FM_NAME(vec8) scores[8];
    for (int first = 0; first < 8; first += FM_ROW_BLOCK) {
        FM_NAME(part) acc[FM_ROW_BLOCK][FM_PARTS];
        for (int r = 0; r < FM_ROW_BLOCK; r++)
            for (int q = 0; q < FM_PARTS; q++)
                acc[r][q] = *(const FM_NAME(part) *)(bias + q * FM_PART_LANES);
        for (ptrdiff_t t = 0; t < d; t++)
            for (int q = 0; q < FM_PARTS; q++) {
                const FM_NAME(part) center =
                    *(const FM_NAME(part) *)(panel + 8 * t + q * FM_PART_LANES);
                for (int r = 0; r < FM_ROW_BLOCK; r++)
                    acc[r][q] += center * row[first + r][t];
            }
        for (int r = 0; r < FM_ROW_BLOCK; r++)
            for (int q = 0; q < FM_PARTS; q++)
                *(FM_NAME(part) *)((real *)&scores[first + r] + q * FM_PART_LANES) = acc[r][q];
    }
    FM_NAME(transpose8)(scores);
    for (int c = 0; c < 8; c++)
        *(FM_NAME(vec8) *)(out + c * FM_PICKED_ROWS) = scores[c];
}

/* Rows rows[(list ? list[i] : i) * d ..] for i < count against k centres in panels of eight: the
 * label, the greatest score and the second greatest, -inf where there is none; all hold count
 * rounded up to 64. */
static void FM_NAME(row_scores)(const void *rows, const int32_t *list, ptrdiff_t count, ptrdiff_t d,
                                const void *panels, const void *biases, ptrdiff_t k,
                                int32_t *labels, void *scores, void *seconds)
{
    for (ptrdiff_t i = 0; i < count; i += FM_PICKED_ROWS) {
        const ptrdiff_t left = count - i < FM_PICKED_ROWS ? count - i : FM_PICKED_ROWS;
        real found[8 * FM_PICKED_ROWS] __attribute__((aligned(64)));
        vec top[(FM_PICKED_ROWS / FM_LANES)], below[(FM_PICKED_ROWS / FM_LANES)];
        ivec at[(FM_PICKED_ROWS / FM_LANES)];
        for (int v = 0; v < (FM_PICKED_ROWS / FM_LANES); v++) {
            top[v] = below[v] = fm_broadcast(-(real)INFINITY);
            at[v] = (ivec){0};
        }
        for (ptrdiff_t j = 0; j < k; j += 8) {
            for (ptrdiff_t first = 0; first < left; first += 8) {
                const real *row[8];
                for (int r = 0; r < 8; r++) {
                    const ptrdiff_t p = i + (first + r < left ? first + r : left - 1);
                    row[r] = (const real *)rows + (list ? list[p] : p) * d;
                }
                FM_NAME(panel_scores)(row, d, (const real *)panels + j * d,
                                      (const real *)biases + j, found + first);
            }
            for (int v = 0; v < (FM_PICKED_ROWS / FM_LANES) && v * FM_LANES < left; v++)
                for (int c = 0; c < 8; c++) {
                    const vec score = fm_load(found + c * FM_PICKED_ROWS + v * FM_LANES);
                    const fm_mask wins = fm_above(score, top[v]);
                    below[v] = fm_max(below[v], fm_select(wins, top[v], score));
                    top[v] = fm_max(score, top[v]);
                    at[v] = fm_iselect(wins, (ivec){0} + (real_bits)(j + c), at[v]);
                }
        }
        for (int v = 0; v < (FM_PICKED_ROWS / FM_LANES); v++) {
            fm_store((real *)scores + i + v * FM_LANES, top[v]);
            fm_store((real *)seconds + i + v * FM_LANES, below[v]);
        }
        FM_NAME(store_labels)(at, left, labels + i);
    }
}

/* out[t * FM_PROJECTED_ROWS + i] = x_i . v_t: at most so many rows against m vectors in panels of
 * eight. */
static void FM_NAME(project)(const void *rows, ptrdiff_t count, ptrdiff_t d, const void *panels,
                             const void *biases, ptrdiff_t m, void *out)
{
    for (ptrdiff_t t = 0; t < m; t += 8)
        for (ptrdiff_t first = 0; first < count; first += 8) {
            const real *row[8];
            for (int r = 0; r < 8; r++)
                row[r] = (const real *)rows + (first + r < count ? first + r : count - 1) * d;
            FM_NAME(panel_scores)(row, d, (const real *)panels + t * d, (const real *)biases + t,
                                  (real *)out + t * FM_PROJECTED_ROWS + first);
        }
}
#undef FM_ROW_BLOCK
#undef FM_PICKED_ROWS
#undef FM_EXCHANGE
#undef FM_REGISTER_BYTES
#undef FM_PART_BYTES
#undef FM_PARTS
#undef FM_PART_LANES
