/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounds that prove which rows, and which groups of centres, an E-step need not look at (the group
 * bounds of Yinyang K-means: Ding et al., ICML 2015).
 *
 * For row i with label a: upper_i >= |x_i - c_a|, and for every group g of centres
 * lower_gi <= |x_i - c_j| for each j in g but a.  Centres move: bounds taken when centre a had moved
 * by m_a and the farthest of group g by M_g, sums over the iterations, are stored as
 *
 *     upper - m_a, a float rounded up,     and     (lower + M_g) / step, a whole number rounded down,
 *
 * so that nothing is written for a row of which nothing new is known.
 *
 * What must be proven is that the *computed* scores have the order of the distances.  A computed
 * score s is off by at most u (d + 4) (|x| |c| + |c|^2 / 2), u = 2^-24, or in float64, where the bias
 * is a rounded sum as well, u (d + 4) (|x| |c| + |c|^2), u = 2^-53; and the label stands if lower^2 -
 * upper^2 > proof for every group, four times the greatest such error; which
 *
 *     lower > upper + min(proof / (2 upper), sqrt(proof))
 *
 * implies.
 */

typedef int16_t code8 __attribute__((vector_size(16), aligned(2), may_alias));
typedef int8_t flags8 __attribute__((vector_size(8)));
typedef uint64_t two64 __attribute__((vector_size(16)));

/* Groups that are looked at together. */
#define FM_FLAGS 32

#ifdef __AVX512BW__
/* Bit g: whether group g of `left`, at most FM_FLAGS, may hold the nearest centre. */
FM_INLINE uint32_t groups_open(const int16_t *codes, const int16_t *moved, int16_t needed,
                               ptrdiff_t left)
{
    const __mmask32 some = left < FM_FLAGS ? (1u << left) - 1 : ~0u;
    const __m512i code = _mm512_maskz_loadu_epi16(some, codes);
    const __m512i shift = _mm512_maskz_loadu_epi16(some, moved);
    /* Beyond the range of the codes nothing is proven; what only fills a row is never open. */
    if (needed == FM_CODE_HALF)
        return _mm512_mask_cmpge_epi16_mask(some, shift, _mm512_setzero_si512());
    return _mm512_mask_cmplt_epi16_mask(some, code,
                                        _mm512_add_epi16(shift, _mm512_set1_epi16(needed)));
}

/* Whether any of `stride` groups may. */
FM_INLINE int any_open(const int16_t *codes, const int16_t *moved, int16_t needed, ptrdiff_t stride)
{
    uint32_t open = 0;
    for (ptrdiff_t g = 0; g < stride; g += FM_FLAGS)
        open |= groups_open(codes + g, moved + g, needed, stride - g);
    return open != 0;
}

/* Of as many rows as fill FM_FLAGS with `stride` groups each, the flags of groups that may. */
FM_INLINE uint32_t rows_open(const int16_t *codes, const int16_t *moved, const int16_t *needed,
                             ptrdiff_t stride)
{
    const __m512i lane =
        _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13,
                         12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i row = _mm512_srli_epi16(lane, stride == 8 ? 3 : 4);
    const __m512i shift = stride == 8
                              ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)moved))
                              : _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)moved));
    const __m512i least = _mm512_permutexvar_epi16(
        row, _mm512_castsi128_si512(_mm_loadl_epi64((const __m128i *)needed)));
    const __mmask32 beyond = _mm512_cmpeq_epi16_mask(least, _mm512_set1_epi16(FM_CODE_HALF));
    const __mmask32 below =
        _mm512_cmplt_epi16_mask(_mm512_loadu_si512(codes), _mm512_add_epi16(shift, least));
    return (below & ~beyond) | _mm512_mask_cmpge_epi16_mask(beyond, shift, _mm512_setzero_si512());
}
#else
/* Lanes of -1 for the same of eight groups. */
FM_INLINE code8 eight_open(const int16_t *codes, const int16_t *moved, int16_t needed)
{
    const code8 code = *(const code8 *)codes, shift = *(const code8 *)moved;
    if (needed == FM_CODE_HALF)
        return (code8)(shift >= 0);
    const code8 least = shift + needed;
    return code < least;
}

FM_INLINE uint32_t groups_open(const int16_t *codes, const int16_t *moved, int16_t needed,
                               ptrdiff_t left)
{
    uint32_t flags = 0;
    for (ptrdiff_t g = 0; g < left && g < FM_FLAGS; g += 8) {
        const uint64_t bytes =
            (uint64_t)__builtin_convertvector(eight_open(codes + g, moved + g, needed), flags8);
        flags |=
            (uint32_t)((bytes & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56)
            << g;
    }
    return flags;
}

FM_INLINE int any_open(const int16_t *codes, const int16_t *moved, int16_t needed, ptrdiff_t stride)
{
    code8 open = {0};
    for (ptrdiff_t g = 0; g < stride; g += 8)
        open |= eight_open(codes + g, moved + g, needed);
    const two64 any = (two64)open;
    return (any[0] | any[1]) != 0;
}
#endif

/* Of rows list[0 .. count) of a call those whose label is not proven, in order; returns how many. */
static ptrdiff_t bounds_left(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count, int32_t *list)
{
    const float slack = bound_slack(b), inverse = 1 / b->step;
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t row = list[i];
        const ptrdiff_t x = start + row;
        const float high = b->upper[x] + b->moved[b->labels[x]] + slack;
        list[found] = row;
        found += any_open(b->codes + x * b->stride, b->group_moved, code_needed(b, high, inverse),
                          b->stride);
    }
    return found;
}

/* Rows of one call whose label is not proven, as positions from 0. */
static ptrdiff_t bounds_open(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count,
                             int32_t *restrict list)
{
    const float *restrict moved = b->moved, slack = bound_slack(b);
    const float inverse = 1 / b->step;
    const ptrdiff_t stride = b->stride;
    ptrdiff_t found = 0;
    for (ptrdiff_t at = 0; at < count; at += 64) {
        const ptrdiff_t rows = count - at < 64 ? count - at : 64;
        const float *restrict upper = b->upper + start + at;
        const int32_t *restrict label = b->labels + start + at;
        const int16_t *codes = b->codes + (start + at) * stride;
        int16_t needed[64 + 4];
        ptrdiff_t r = 0;
        for (ptrdiff_t i = 0; i < rows; i++)
            needed[i] = code_needed(b, upper[i] + moved[label[i]] + slack, inverse);
#ifdef __AVX512BW__
        if (stride == 8 || stride == 16)
            for (const ptrdiff_t some = FM_FLAGS / stride; r + some <= rows; codes += FM_FLAGS) {
                uint32_t open = rows_open(codes, b->group_moved, needed + r, stride);
                for (const ptrdiff_t end = r + some; r < end; r++, open >>= stride) {
                    list[found] = (int32_t)(at + r);
                    found += (open & ((1u << stride) - 1)) != 0;
                }
            }
#endif
        for (; r < rows; r++, codes += stride) {
            list[found] = (int32_t)(at + r);
            found += any_open(codes, b->group_moved, needed[r], stride);
        }
    }
    return found;
}

/* Open rows first .. first + count: appends each to the list of every group, but that of its label,
 * that may hold a nearer centre. */
static void bounds_wanted(const fm_bounds *b, fm_open *open, ptrdiff_t own, ptrdiff_t start,
                          ptrdiff_t first, ptrdiff_t count)
{
    enum {
        ROOM = 1024,
        ROW = 1 << 16 /* above every group */
    };
    const float inverse = 1 / b->step, slack = bound_slack(b);
    const ptrdiff_t stride = b->stride, room = open->room;
    const int16_t *const codes = b->codes + start * stride, *const moved = b->group_moved;
    const int32_t *const row = open->rows + first;
    const float *const near = open->near + first;
    int32_t *const lists = open->lists;
    ptrdiff_t *const counts = open->counts;
    ptrdiff_t n = 0;
    int16_t needed[FM_BOUND_ROWS];
    int32_t pair[ROOM + 16];
    for (ptrdiff_t i = 0; i < count; i++)
        needed[i] = code_needed(b, near[i] + slack, inverse);
    for (ptrdiff_t i = 0; i < count; i++) {
        const int16_t *code = codes + row[i] * stride;
        for (ptrdiff_t g = 0; g < stride; g += FM_FLAGS) {
            uint32_t flags = groups_open(code + g, moved + g, needed[i], stride - g);
            if (own >= g && own < g + FM_FLAGS)
                flags &= ~(1u << (own - g));
            const int32_t at = (int32_t)i * ROW + (int32_t)g;
            n += fm_list_flags(flags & 0xffff, at, pair + n);
            if (flags >> 16)
                n += fm_list_flags(flags >> 16, at + 16, pair + n);
            /* Listed by group in a loop of its own, whose end is foreseen. */
            if (n > ROOM - FM_FLAGS || (i == count - 1 && g + FM_FLAGS >= stride)) {
                for (ptrdiff_t q = 0; q < n; q++) {
                    const ptrdiff_t group = pair[q] % ROW;
                    lists[group * room + counts[group]++] = (int32_t)first + pair[q] / ROW;
                }
                n = 0;
            }
        }
    }
}

/* The first count open rows, with what is known of the distance to their labels' centres: lists
 * those that at most `few` groups are open for with these groups. */
static void bounds_few(const fm_bounds *b, fm_open *open, ptrdiff_t start, ptrdiff_t count,
                       ptrdiff_t few)
{
    const float inverse = 1 / b->step, slack = bound_slack(b);
    const ptrdiff_t stride = b->stride;
    for (ptrdiff_t p = 0; p < count; p++) {
        const ptrdiff_t x = start + open->rows[p];
        const int16_t *code = b->codes + x * stride, *moved = b->group_moved;
        ptrdiff_t found = 0;
        open->near[p] = b->upper[x] + b->moved[b->labels[x]];
        const int16_t needed = code_needed(b, open->near[p] + slack, inverse);
        for (ptrdiff_t g = 0; g < stride && found <= few; g += FM_FLAGS)
            found += __builtin_popcount(groups_open(code + g, moved + g, needed, stride - g));
        if (found > few)
            continue;
        for (ptrdiff_t g = 0; g < stride; g += FM_FLAGS)
            for (uint32_t left = groups_open(code + g, moved + g, needed, stride - g); left;
                 left &= left - 1) {
                const ptrdiff_t group = g + __builtin_ctz(left);
                open->lists[group * open->room + open->counts[group]++] = (int32_t)p;
            }
    }
}

#define FM_BOUNDS(suffix, real)                                                                      \
    /* What a scan found, as distances: near >= that of the nearest centre, least <= the same,     \
     * next <= that of the runner-up. */ \
    static void bounds_distances_##suffix(                                                           \
        const fm_bounds *b, const fm_found *f, const fm_open *open, ptrdiff_t count,                 \
        float *restrict near, float *restrict least, float *restrict next)                           \
    {                                                                                                \
        const real *restrict score = f->scores, *restrict second = f->seconds;                       \
        const real *squares = open->squares;                                                         \
        const real unit = (real)b->unit, c_square = (real)b->c_square;                               \
        real square[FM_BOUND_ROWS];                                                                  \
        for (ptrdiff_t i = 0; i < count; i++)                                                        \
            square[i] = squares[f->list ? f->list[i] : f->first + i];                                \
        for (ptrdiff_t i = 0; i < count; i++) {                                                      \
            const real error = unit * (square[i] + c_square);                                        \
            const float above = (float)(square[i] - 2 * score[i] + error);                           \
            const float below = (float)(square[i] - 2 * score[i] - error);                           \
            const float beyond = (float)(square[i] - 2 * second[i] - error);                         \
            const float lower = below < FLT_MAX ? below : FLT_MAX;                                   \
            const float finite = beyond < FLT_MAX ? beyond : FLT_MAX;                                \
            near[i] =                                                                                \
                __builtin_sqrtf(above > FLT_MIN ? above : FLT_MIN) * (1 + FM_BOUND_ROUNDING);        \
            least[i] = __builtin_sqrtf(lower > FLT_MIN ? lower : 0) * (1 - FM_BOUND_ROUNDING);       \
            next[i] = __builtin_sqrtf(finite > FLT_MIN ? finite : 0) * (1 - FM_BOUND_ROUNDING);      \
        }                                                                                            \
    }                                                                                                \
                                                                                                     \
    /* Open rows f->first .. f->first + count have been scanned against the group of their label.  \
     */ \
    static void bounds_own_##suffix(const fm_bounds *b, const fm_found *f, ptrdiff_t own,            \
                                    ptrdiff_t start, ptrdiff_t count, fm_open *open)                 \
    {                                                                                                \
        float *near = open->near + f->first, *least = open->least + f->first;                        \
        float next[FM_BOUND_ROWS];                                                                   \
        const real *score = f->scores;                                                               \
        const float moved = b->group_reach[own], inverse = 1 / b->step;                              \
        bounds_distances_##suffix(b, f, open, count, near, least, next);                             \
        for (ptrdiff_t i = 0; i < count; i++) {                                                      \
            const ptrdiff_t p = f->first + i;                                                        \
            open->score[p] = (double)score[i];                                                       \
            open->label[p] = f->order[f->labels[i]];                                                 \
            b->codes[(start + open->rows[p]) * b->stride + own] =                                    \
                code_of(next[i], moved, inverse);                                                    \
        }                                                                                            \
    }                                                                                                \
                                                                                                     \
    /* Open rows of f have been scanned against another group. */                                    \
    static void bounds_other_##suffix(const fm_bounds *b, const fm_found *f, ptrdiff_t group,        \
                                      ptrdiff_t start, ptrdiff_t count, fm_open *open)               \
    {                                                                                                \
        float near[FM_BOUND_ROWS], least[FM_BOUND_ROWS], next[FM_BOUND_ROWS];                        \
        const real *score = f->scores;                                                               \
        const float moved = b->group_reach[group], inverse = 1 / b->step;                            \
        bounds_distances_##suffix(b, f, open, count, near, least, next);                             \
        for (ptrdiff_t i = 0; i < count; i++) {                                                      \
            const ptrdiff_t p = f->list ? f->list[i] : f->first + i;                                 \
            int16_t *codes = b->codes + (start + open->rows[p]) * b->stride;                         \
            const double s = (double)score[i];                                                       \
            const int32_t label = f->order[f->labels[i]];                                            \
            float low = least[i];                                                                    \
            if (s > open->score[p] || (s == open->score[p] && label < open->label[p])) {             \
                const ptrdiff_t old = b->group_of[open->label[p]];                                   \
                const int16_t beaten = code_of(open->least[p], b->group_reach[old], inverse);        \
                codes[old] = beaten < codes[old] ? beaten : codes[old];                              \
                open->score[p] = s;                                                                  \
                open->label[p] = label;                                                              \
                open->near[p] = near[i];                                                             \
                open->least[p] = least[i];                                                           \
                low = next[i];                                                                       \
            }                                                                                        \
            codes[group] = code_of(low, moved, inverse);                                             \
        }                                                                                            \
    }

FM_BOUNDS(f32, float)
FM_BOUNDS(f64, double)
#undef FM_BOUNDS

/* Labels and upper bounds of the open rows; lists those whose label changed as `changes` does. */
static ptrdiff_t bounds_close(const fm_bounds *b, const fm_open *open, ptrdiff_t start,
                              ptrdiff_t count, ptrdiff_t *restrict changed, int32_t *restrict added,
                              int32_t *restrict removed)
{
    const float slack = bound_slack(b);
    ptrdiff_t n = 0;
    for (ptrdiff_t p = 0; p < count; p++) {
        const ptrdiff_t row = start + open->rows[p];
        const int32_t label = open->label[p], old = b->labels[row];
        b->upper[row] = open->near[p] * (1 + FM_BOUND_ROUNDING) - b->moved[label] + slack;
        b->labels[row] = label;
        changed[n] = row;
        added[n] = label;
        removed[n] = old;
        n += label != old;
    }
    return n;
}

/* The bounds of rows start .. start + count as if they had been taken now. */
static void bounds_renew(const fm_bounds *b, ptrdiff_t start, ptrdiff_t count)
{
    const float slack = bound_slack(b);
    int16_t *codes = b->codes + start * b->stride;
    for (ptrdiff_t i = start; i < start + count; i++, codes += b->stride) {
        b->upper[i] = (b->upper[i] + b->moved[b->labels[i]]) * (1 + FM_BOUND_ROUNDING) + slack;
        for (ptrdiff_t g = 0; g < b->stride; g++) {
            const int left = codes[g] - (b->group_moved[g] > 0 ? b->group_moved[g] : 0);
            codes[g] = (int16_t)(left > 0 ? left : 0);
        }
    }
}
