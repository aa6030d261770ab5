/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounds of distances from rows and centres in codes of 8 bits.
 *
 * With q of a row and z of a centre whole numbers of at most 127, in a unit s of the row and u of
 * the centre's group, and with |x - s q| <= e and |c - u z| <= h for each centre of the group,
 *
 *     |x - c|  >=  |s q - u z| - e - h,   |s q - u z|^2 = s^2 |q|^2 - 2 s u (q . z - u / (2 s) |z|^2).
 *
 * and at most |s q - u z| + e + h.  q . z is exact.  The second term of the score is rounded down to
 * a whole number, and what rounding may do to the squares is taken off (and added, from above): a few
 * units in the last place of s^2 |q|^2 + u^2 |z|^2, which FM_BOUND_ROUNDING covers, and FLT_MIN for
 * what underflows.
 *
 * Four codes of a row are multiplied with four of a centre by one instruction, as in
 * shortlist.inc.h; two fours of eight centres fill a vector.
 */
typedef int64_t fm_long8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef float fm_float8 __attribute__((vector_size(32), aligned(4), may_alias));

/* Units are between these divided by 127: so large that neither they, squared, nor gaps of 2^-17 of
 * them, squared, underflow; and what is larger is not coded. */
#define FM_CODE_LEAST 0x1p-50f
#define FM_CODE_GREATEST 0x1p100
/* Sums of squares beyond this may overflow. */
#define FM_CODE_SQUARE 0x1p120f

/* Codes of rows start .. start + count of the fit from framed rows. */
static void FM_NAME(code_rows)(const void *framed, ptrdiff_t count, ptrdiff_t d,
                               const fm_row_codes *p, ptrdiff_t start)
{
    enum {
        LANES = 16
    };
    const real *x = framed, round = (real)(sizeof(real) == 4 ? 0x1.8p23 : 0x1.8p52);
    const float columns = __builtin_sqrtf((float)d);
    for (ptrdiff_t i = start; i < start + count; i++, x += d) {
        uint8_t *to = p->codes + i * 8 * p->pairs;
        real most[LANES] = {0}, largest = FM_CODE_LEAST;
        float gaps[LANES] = {0}, rest = 0;
        int32_t squares[LANES] = {0}, square = 0;
        ptrdiff_t t = 0;
        for (; t + LANES <= d; t += LANES)
            for (int l = 0; l < LANES; l++) {
                const real size = x[t + l] < 0 ? -x[t + l] : x[t + l];
                most[l] = size > most[l] ? size : most[l];
            }
        for (int l = 0; l < LANES; l++)
            largest = most[l] > largest ? most[l] : largest;
        for (; t < d; t++) {
            const real size = x[t] < 0 ? -x[t] : x[t];
            largest = size > largest ? size : largest;
        }
        if (!(largest < FM_CODE_GREATEST)) {
            memset(to, 128, (size_t)(8 * p->pairs));
            p->rows[i] = (fm_coded_row){.unit = 1, .square = 0, .rest = INFINITY};
            continue;
        }
        const float unit = (float)largest / 127;
        const real inverse = 1 / (real)unit;
        for (t = 0; t < d; t += LANES) {
            real value[LANES] = {0};
            uint8_t code[LANES];
            const ptrdiff_t width = d - t < LANES ? d - t : LANES;
            memcpy(value, x + t, (size_t)width * sizeof(real));
            for (int l = 0; l < LANES; l++) {
                const real q = (value[l] * inverse + round) - round;
                const float gap = (float)(value[l] - q * (real)unit);
                gaps[l] += gap * gap;
                squares[l] += (int32_t)q * (int32_t)q;
                code[l] = (uint8_t)((int32_t)q + 128);
            }
            const ptrdiff_t room = 8 * p->pairs - t;
            memcpy(to + t, code, (size_t)(room < LANES ? room : LANES));
        }
        for (int l = 0; l < LANES; l++)
            rest += gaps[l], square += squares[l];
        p->rows[i].unit = unit;
        p->rows[i].square = unit * unit * (float)square;
        /* A gap is off by 127 units in the last place of one step, where nothing fuses it. */
        p->rows[i].rest = (__builtin_sqrtf(rest) + 0x1p-16f * unit * columns) * (1 + 0x1p-10f);
    }
}

/* Codes of the centres c (size, d) of a group, whose panels start with `panel`. */
static void FM_NAME(code_group)(const double *c, ptrdiff_t size, ptrdiff_t d, const fm_row_codes *p,
                                ptrdiff_t group, ptrdiff_t panel)
{
    double most = FM_CODE_LEAST, rest = 0, square = 0;
    for (ptrdiff_t t = 0; t < size * d; t++) {
        const double value = (double)(real)c[t], magnitude = value < 0 ? -value : value;
        most = magnitude > most ? magnitude : most;
    }
    const int usable = most < FM_CODE_GREATEST;
    const double unit = usable ? (double)((float)most / 127) : 1, inverse = 1 / unit,
                 round = 0x1.8p52;
    for (ptrdiff_t j = 0; j < size; j++, c += d) {
        const ptrdiff_t column = 8 * panel + j;
        int8_t *to = (int8_t *)(p->panels + column / 8 * p->pairs * 16 + column % 8 * 2);
        double gaps[8] = {0}, gap_sum = 0;
        int32_t totals[8] = {0}, squares[8] = {0}, total = 0, square_sum = 0;
        for (ptrdiff_t t = 0; t < d; t += 8) {
            real value[8] = {0};
            int8_t code[8];
            for (ptrdiff_t l = 0; l < 8 && t + l < d; l++)
                value[l] = (real)c[t + l];
            for (int l = 0; l < 8; l++) {
                const double exact = usable ? (double)value[l] : 0;
                const double z = (exact * inverse + round) - round, gap = exact - z * unit;
                const int32_t whole = (int32_t)z;
                gaps[l] += gap * gap;
                totals[l] += whole;
                squares[l] += whole * whole;
                code[l] = (int8_t)whole;
            }
            memcpy(to + t * 8, code, sizeof code);
        }
        for (int l = 0; l < 8; l++)
            gap_sum += gaps[l], total += totals[l], square_sum += squares[l];
        p->starts[column] = -128 * total;
        p->halves[column] = 0.5f * (float)square_sum * (1 - FM_BOUND_ROUNDING);
        rest = gap_sum > rest ? gap_sum : rest;
        square = square_sum > square ? square_sum : square;
    }
    p->group_unit[group] = (float)unit;
    p->group_square[group] = (float)(unit * unit * square) * (1 + FM_BOUND_ROUNDING);
    p->group_rest[group] =
        usable ? (float)__builtin_sqrt(rest) * (1 + FM_BOUND_ROUNDING) : INFINITY;
}

/* max_c q . z - ratio |z|^2 / 2 of eight rows over the centres of n_panels panels, skip as in
 * greatest_scores; where own is not NULL it gets the scores of the columns left out.  Not inlined, as
 * prefix_scores. */
static __attribute__((noinline)) void
FM_NAME(code_scores)(const uint8_t *const row[8], const float *ratio, ptrdiff_t pairs,
                     const int32_t *panel, const int32_t *start, const float *half,
                     ptrdiff_t n_panels, const int32_t *skip, int32_t *own, int32_t *greatest)
{
    fm_int8 best = (fm_int8){0} - 2 * (FM_SCORE_NONE - 1);
    for (ptrdiff_t p = 0; p < n_panels; p++) {
        fm_short_counts acc[8] = {{0}};
        for (ptrdiff_t t = 0; t < pairs; t++, panel += 16) {
            const fm_short_counts centers = *(const fm_short_counts *)panel;
            FM_UNROLL
            for (int r = 0; r < 8; r++) {
                int64_t codes;
                memcpy(&codes, row[r] + 8 * t, sizeof codes);
                acc[r] = fm_short_add(acc[r], (fm_short_counts)(codes - (fm_long8){0}), centers);
            }
        }
        fm_int8 score[8];
        FM_UNROLL
        for (int r = 0; r < 8; r++) {
            /* The two fours of a centre are in one lane of 64 bits. */
            const fm_long8 both = (fm_long8)acc[r] + ((fm_long8)acc[r] >> 32);
            const fm_float8 shift = *(const fm_float8 *)(half + 8 * p) * ratio[r];
            const fm_int8 whole = shift < (float)FM_SCORE_NONE;
            const fm_int8 off =
                (whole & __builtin_convertvector(shift, fm_int8)) | (~whole & FM_SCORE_NONE);
            score[r] =
                __builtin_convertvector(both, fm_int8) + *(const fm_int8 *)(start + 8 * p) - off;
        }
        if (own)
            for (int r = 0; r < 8; r++)
                if (skip[r] >= 8 * p && skip[r] < 8 * p + 8)
                    own[r] = score[r][skip[r] - 8 * p];
        best = greatest_scores(best, score, skip, 8 * p);
    }
    *(fm_int8 *)greatest = best;
}

/* Bounds of the distances of rows to the centres of a group but the one left out, and, where high is
 * not NULL, from above to that one; infinity where nothing is known of it. */
FM_INLINE void FM_NAME(code_distances)(const fm_row_codes *p, ptrdiff_t group, ptrdiff_t panel,
                                       ptrdiff_t n_panels, const fm_group_rows *rows, float *low,
                                       float *high)
{
    const float unit = p->group_unit[group], square = p->group_square[group];
    const float rest = p->group_rest[group];
    const uint8_t *row[FM_GROUP_ROWS];
    int32_t score[FM_GROUP_ROWS], own[FM_GROUP_ROWS];
    fm_coded_row coded[FM_GROUP_ROWS];
    float ratio[FM_GROUP_ROWS];
    for (ptrdiff_t r = 0; r < (rows->count + 7) / 8 * 8; r++) {
        const ptrdiff_t x = rows->row[r < rows->count ? r : rows->count - 1];
        row[r] = p->codes + x * 8 * p->pairs;
        coded[r] = p->rows[x];
        const float quotient = unit / coded[r].unit * (1 - FM_BOUND_ROUNDING);
        ratio[r] = quotient < 0x1p60f ? quotient : 0x1p60f;
    }
    for (ptrdiff_t r = 0; r < rows->count; r += 8)
        FM_NAME(code_scores)(row + r, ratio + r, p->pairs, p->panels + panel * p->pairs * 16,
                             p->starts + 8 * panel, p->halves + 8 * panel, n_panels,
                             rows->skips ? rows->skip + r : NULL, high ? own + r : NULL, score + r);
    for (ptrdiff_t r = 0; r < rows->count; r++) {
        const float most = coded[r].square + square;
        const float twice = 2 * coded[r].unit * unit, off = FM_BOUND_ROUNDING * most + FLT_MIN;
        const float far = (coded[r].rest + rest) * (1 + FM_BOUND_ROUNDING);
        const float gap = coded[r].square - twice * (float)score[r] - off;
        const int usable = most < FM_CODE_SQUARE;
        low[r] = __builtin_sqrtf(gap > 0 ? gap : 0) * (1 - FM_BOUND_ROUNDING) - far;
        if (!usable)
            low[r] = 0;
        if (high) {
            /* A score is too great by at most one and what its second term was made smaller by. */
            const float above = coded[r].square - twice * ((float)own[r] - 1) + 4 * off;
            high[r] = __builtin_sqrtf(above > 0 ? above : 0) * (1 + FM_BOUND_ROUNDING) + far;
            if (!usable || own[r] < -FM_SCORE_NONE / 2)
                high[r] = INFINITY;
        }
    }
}

/* As prefix_scan. */
static ptrdiff_t FM_NAME(codes_scan)(const fm_bounds *b, const fm_row_codes *p, ptrdiff_t group,
                                     ptrdiff_t panel, ptrdiff_t n_panels, ptrdiff_t start,
                                     const fm_open *open, int32_t *list, ptrdiff_t count)
{
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i += FM_GROUP_ROWS) {
        const fm_group_rows rows =
            group_rows_of(b, open, start, list + i, count - i, group, p->column_of, 8 * panel);
        float low[FM_GROUP_ROWS];
        FM_NAME(code_distances)(p, group, panel, n_panels, &rows, low, NULL);
        found += raise_codes(b, group, &rows, low, list + i, list + found);
    }
    return found;
}

/* Open rows first .. first + count, whose labels are in the group: what codes prove of their distance
 * to the label's centre, and to the others of the group. */
static void FM_NAME(codes_own)(const fm_bounds *b, const fm_row_codes *p, ptrdiff_t group,
                               ptrdiff_t panel, ptrdiff_t n_panels, ptrdiff_t start,
                               const fm_open *open, ptrdiff_t first, ptrdiff_t count)
{
    const float slack = FM_BOUND_ROUNDING * b->reach, inverse = 1 / b->step;
    for (ptrdiff_t i = first; i < first + count; i += FM_GROUP_ROWS) {
        const ptrdiff_t left = first + count - i < FM_GROUP_ROWS ? first + count - i : FM_GROUP_ROWS;
        int32_t list[FM_GROUP_ROWS];
        float low[FM_GROUP_ROWS], high[FM_GROUP_ROWS];
        for (ptrdiff_t r = 0; r < left; r++) {
            const ptrdiff_t x = start + open->rows[i + r];
            list[r] = (int32_t)(i + r);
            open->near[i + r] = b->upper[x] + b->moved[b->labels[x]];
        }
        const fm_group_rows rows =
            group_rows_of(b, open, start, list, left, group, p->column_of, 8 * panel);
        FM_NAME(code_distances)(p, group, panel, n_panels, &rows, low, high);
        for (ptrdiff_t r = 0; r < rows.count; r++) {
            const ptrdiff_t x = rows.row[r];
            const int16_t proven =
                code_of(low[r] > 0 ? low[r] : 0, b->group_reach[group], inverse);
            int16_t *code = b->codes + x * b->stride + group;
            *code = proven > *code ? proven : *code;
            if (high[r] < rows.near[r]) {
                open->near[i + r] = high[r];
                b->upper[x] =
                    high[r] * (1 + FM_BOUND_ROUNDING) - b->moved[b->labels[x]] + slack;
            }
        }
    }
}
