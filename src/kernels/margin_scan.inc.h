/* SPDX-License-Identifier: BSD-3-Clause */
/* Scores in whole numbers, for margins.inc.h.
 *
 * With codes q = round(x / s) and z = round(c / u) of 16 bits, in one unit for all rows and one for
 * the centres of an E-step, and b = round(bias / (s u)),
 *
 *     score / (s u)  =  q . z + b  +  q . (c / u - z) + (x / s - q) . c / u + (bias / (s u) - b).
 *
 * The first two terms are computed, exactly; the others are by Cauchy-Schwarz at most
 * |q| max |c / u - z| + sqrt(d) / 2 max |c / u| + 1 / 2, the maxima over the centres.  To that
 * comes what kernel assign may round: a score more than twice the sum of both ahead of all others
 * is the greatest there as well, and what is beyond is the row's margin.
 *
 * Rows are in the lanes.  Two codes of a row are 32 bits, which one instruction multiplies with two
 * of a centre (AVX512-VNNI): twice as many products as multiply-adds of float32.
 */
/* Columns of a row that are coded at a time. */
#ifdef FM_DOUBLE
#define FM_MARGIN_STEP 8
#else
#define FM_MARGIN_STEP 16
#endif
typedef real FM_NAME(some) __attribute__((vector_size(64), aligned(sizeof(real)), may_alias));
typedef real FM_NAME(user_some) __attribute__((vector_size(64), aligned(1), may_alias));
typedef float FM_NAME(some_floats)
    __attribute__((vector_size(4 * FM_MARGIN_STEP), aligned(4), may_alias));
typedef int32_t FM_NAME(some_wholes)
    __attribute__((vector_size(4 * FM_MARGIN_STEP), aligned(4), may_alias));
typedef int16_t FM_NAME(some_codes)
    __attribute__((vector_size(2 * FM_MARGIN_STEP), aligned(2), may_alias));

/* The first of so many numbers, and zeros. */
FM_INLINE FM_NAME(some) FM_NAME(load_some)(const char *from, ptrdiff_t count)
{
#if defined(__AVX512F__) && defined(FM_DOUBLE)
    return (FM_NAME(some))_mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
#elif defined(__AVX512F__)
    return (FM_NAME(some))_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
#else
    FM_NAME(some) some = {0};
    memcpy(&some, from, (size_t)count * sizeof(real));
    return some;
#endif
}

/* Codes of some columns of a row. */
FM_INLINE FM_NAME(some_codes)
    FM_NAME(margin_codes)(FM_NAME(some) x, FM_NAME(some) offset, real scale, float inverse)
{
    const FM_NAME(some) framed = x * scale - offset;
    /* The lowest bits of a sum with 3 * 2^22 are the rounded number. */
    const FM_NAME(some_floats) code =
        __builtin_convertvector(framed, FM_NAME(some_floats)) * inverse + 0x1.8p23f;
    return __builtin_convertvector((FM_NAME(some_wholes))code, FM_NAME(some_codes));
}

/* Codes of the first rows of a block, [row][stride], with up to 16 more behind the last. */
FM_INLINE void FM_NAME(margin_rows)(const fm_margins *p, const fm_matrix *x, const fm_block *block,
                                    ptrdiff_t count, const real *offset, real scale, int16_t *to,
                                    ptrdiff_t stride, void *scratch)
{
    const ptrdiff_t d = p->d, size = (ptrdiff_t)sizeof(real);
    const int by_row = FM_NAME(rows_lie_dense)(x);
    const float inverse = (float)(1 / p->unit);
    for (ptrdiff_t i = 0; i < count; i++, to += stride) {
        const char *row = block_row(x, block, i);
        ptrdiff_t t = 0;
        if (!by_row) {
            FM_NAME(load_run)(row, x->col_stride, x->type, x->swapped, d, scratch);
            row = scratch;
        }
        for (; t + FM_MARGIN_STEP <= d; t += FM_MARGIN_STEP)
            *(FM_NAME(some_codes) *)(to + t) =
                FM_NAME(margin_codes)(*(const FM_NAME(user_some) *)(row + t * size),
                                      *(const FM_NAME(some) *)(offset + t), scale, inverse);
        if (t < d)
            *(FM_NAME(some_codes) *)(to + t) = FM_NAME(margin_codes)(
                FM_NAME(load_some)(row + t * size, d - t),
                FM_NAME(load_some)((const char *)(offset + t), d - t), scale, inverse);
    }
}

/* Fetches the first `rows` of a block; the others are fetched in so many steps for each `rows`. */
FM_INLINE margin_upcoming FM_NAME(margin_next)(const fm_matrix *x, const fm_block *block,
                                               ptrdiff_t rows, ptrdiff_t steps)
{
    margin_upcoming upcoming = {.x = x, .block = block, .step = rows};
    upcoming.bytes = x->d * (ptrdiff_t)sizeof(real);
    upcoming.end = FM_NAME(rows_lie_dense)(x) ? block->count : 0;
    margin_fetch(&upcoming);
    upcoming.step = (rows + steps - 1) / steps;
    return upcoming;
}

static ptrdiff_t FM_NAME(margins_scan)(const fm_margins *p, const fm_matrix *x,
                                       const fm_block *block, const void *offset, double scale,
                                       int32_t *labels, int32_t *left, void *scratch)
{
    const ptrdiff_t d = p->d, columns = FM_MARGIN_COLUMNS(d);
    int32_t *const tile = scratch;
    int16_t *const codes = (int16_t *)(tile + columns / 2 * FM_MARGIN_ROWS);
    /* Codes are written a vector at a time. */
    void *const row = codes + columns * FM_MARGIN_ROWS + 16;
    ptrdiff_t found = 0;
    margin_upcoming upcoming = FM_NAME(margin_next)(x, block, FM_MARGIN_ROWS, margin_groups(p->k));
    for (ptrdiff_t at = 0; at < block->count; at += FM_MARGIN_ROWS) {
        const ptrdiff_t here = block->count - at;
        const ptrdiff_t some = here < FM_MARGIN_ROWS ? here : FM_MARGIN_ROWS;
        const fm_block rows = {block->rows ? block->rows + at : NULL, block->start + at, here};
        fm_short_floats first[FM_MARGIN_VECTORS], second[FM_MARGIN_VECTORS];
        fm_short_floats parts[FM_MARGIN_VECTORS][2][FM_CANDIDATE_PARTS], others[FM_MARGIN_VECTORS];
        fm_short_counts label[FM_MARGIN_VECTORS];
        /* near and margin: those of rows in doubt are as settle takes them. */
        float near[FM_MARGIN_ROWS], margin[FM_MARGIN_ROWS], more[FM_MARGIN_ROWS];
        float mover_margin[FM_MARGIN_ROWS];
        uint64_t clear = 0;
        ptrdiff_t index[FM_MARGIN_ROWS];
        FM_NAME(margin_rows)(p, x, &rows, some, offset, (real)scale, codes, columns, row);
        margin_tile(codes, columns, columns, tile);
        for (ptrdiff_t r = 0; r < some; r++)
            index[r] = rows.rows ? rows.rows[r] : rows.start + r;
        if (p->places)
            margin_keys(tile, p, p->panels, p->starts, p->k, 1, &upcoming, first, second, parts,
                        others);
        else
            margin_two(tile, p, p->panels, p->starts, p->k, &upcoming, first, second);
        for (int v = 0; v < FM_MARGIN_VECTORS; v++) {
            const ptrdiff_t those = some > 16 * v ? some - 16 * v : 0;
            fm_short_floats beyond = {0}, least;
            if (p->places)
                beyond = candidates_find(p, parts[v], others[v], index + 16 * v,
                                         those < 16 ? those : 16, &first[v], &second[v]);
            label[v] = (fm_short_counts)first[v] & p->numbers;
            const int32_t *const labels_here = (const int32_t *)(label + v);
            const fm_short_floats sizes = margin_sizes(tile + 16 * v, p);
            const fm_short_floats error = sizes * p->size_error + p->error;
            const fm_short_floats gap =
                margin_lead(p, first[v], second[v]) * p->score_unit - 2 * error;
            const uint64_t sure = fm_short_reach(gap, FLT_MIN - (fm_short_floats){0});
            clear |= sure << 16 * v;
            if (!p->margins)
                continue;
            const fm_short_floats square = margin_square(p, sizes, first[v], error, &least);
            const fm_short_floats own = fm_short_take(p->own_moved, labels_here);
            const fm_short_floats lead = margin_ahead(gap, square), spent = own + p->all_moved[0];
            *(fm_short_floats *)(margin + 16 * v) =
                fm_short_pick(sure, margin_kept(spent, lead), square);
            *(fm_short_floats *)(mover_margin + 16 * v) = margin_kept(own + p->all_moved[1], lead);
            *(fm_short_floats *)(near + 16 * v) =
                fm_short_pick(sure, margin_kept(own, least), least);
            if (p->places)
                *(fm_short_floats *)(more + 16 * v) = margin_kept(
                    spent,
                    margin_ahead(margin_lead(p, first[v], beyond) * p->score_unit - 2 * error,
                                 square));
        }
        for (ptrdiff_t r = 0; p->margins && r < some; r++) {
            p->margins[index[r]] = margin[r];
            p->mover_margins[index[r]] = mover_margin[r];
            p->nears[index[r]] = near[r];
            if (p->places)
                p->beyond[index[r]] = more[r];
        }
        memcpy(labels + at, label, (size_t)some * sizeof *labels);
        for (ptrdiff_t r = 0; r < some; r++) {
            left[found] = (int32_t)(at + r);
            found += !(clear >> r & 1);
        }
    }
    return found;
}

#undef FM_MARGIN_STEP

/* Takes centres and biases over, and how far the former have moved; most are the greatest length
 * of a centre and the greatest bias. */
static void FM_NAME(margin_take_centers)(const double *c, const real *bias, fm_margins *p,
                                         double most[2])
{
    const ptrdiff_t k = p->k, d = p->d;
    const double more = 1 + 0x1p-40;
    most[0] = most[1] = 0;
    for (ptrdiff_t j = 0; j < k; j++) {
        const double depth = -(double)bias[j];
        double square = 0, shift = 0, *before = p->centers + j * d;
        for (ptrdiff_t t = 0; t < d; t++) {
            const double now = (double)(real)c[j * d + t], gap = now - before[t];
            square += now * now;
            shift += gap * gap;
            before[t] = now;
        }
        const double length = __builtin_sqrt(square) * more;
        most[0] = length > most[0] ? length : most[0];
        most[1] = depth > most[1] ? depth : most[1];
        p->depths[j] = depth;
        p->steps[j] = p->started ? __builtin_sqrt(shift) * more : 0;
        p->moved[j] = (p->moved[j] + p->steps[j]) * more;
        p->own_moved[j] = (float)p->moved[j] * (1 + FM_MARGIN_ROUNDING);
    }
}

static void FM_NAME(margin_centers)(const double *c, const void *biases, fm_margins *p)
{
    const ptrdiff_t d = p->d;
    const double s = p->unit;
    double most[2];
    FM_NAME(margin_take_centers)(c, biases, p, most);
    margins_group(p);
    p->started = 1;
    const double norm = most[0], most_bias = most[1];
    /* Scores of at most 2^29, and biases of at most 2^28, about a middle of 2^30; and the unit of a
     * score is no subnormal float. */
    const double least = most_bias / (s * 0x1p28) + 2 * (double)FLT_MIN / s;
    const double unit = norm / FM_MARGIN_LENGTH > least ? norm / FM_MARGIN_LENGTH : least;
    const int usable = norm < DBL_MAX && most_bias < DBL_MAX;
    const double error = margin_pack_centers(p, usable ? 1 / unit : 0);
    /* A score of kernel assign is off by so much of |bias| + |x| |c|, of twice |bias| in float64
     * (assign.inc.h), or where it underflows.  A gap of a row's code is at most half a unit, and what
     * floats round. */
    const double rounding = (double)(d + 4) * (sizeof(real) == 4 ? 0x1p-24 : 0x1p-53);
    const double any =
        (sizeof(real) == 4 ? 1 : 2) * rounding * most_bias + (double)(d + 2) * (double)FLT_MIN;
    const double rest = FM_MARGIN_GAP * __builtin_sqrt((double)d);
    const double gap = __builtin_sqrt(error) * unit;
    const float up = 1 + 8 * FM_MARGIN_ROUNDING;
    p->score_unit = (float)(s * unit);
    p->size_error = (float)(gap + rounding * norm) * up;
    p->error = usable ? (float)(rest * s * (gap + norm) + s * unit + any) * up : INFINITY;
    /* Twice what two scores may be off, of any row. */
    p->hidden = (float)(4 * (rounding * norm * s * FM_MARGIN_LENGTH + any)) * up;
    p->size_gap = (float)(2 * rest * s) * up;
}
