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
typedef double fm_double8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef float fm_float8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int8_t fm_code8 __attribute__((vector_size(8), aligned(1), may_alias));

/* Units are between these divided by 127: so large that neither they, squared, nor gaps of 2^-17 of
 * them, squared, underflow; and what is larger is not coded. */
#define FM_CODE_LEAST 0x1p-50f
#define FM_CODE_GREATEST 0x1p100
/* Sums of squares beyond this may overflow. */
#define FM_CODE_SQUARE 0x1p120f

typedef int32_t FM_NAME(wholes) __attribute__((vector_size(4 * FM_LANES)));
typedef uint8_t FM_NAME(row_bytes) __attribute__((vector_size(FM_LANES), aligned(1), may_alias));

/* FM_LANES columns of a row: their codes, and what these add to the squares of codes and gaps. */
FM_INLINE void FM_NAME(code_columns)(vec value, vec inverse, vec unit, vec *gaps,
                                     FM_NAME(wholes) * squares, uint8_t *to)
{
    const vec round = fm_broadcast((real)(sizeof(real) == 4 ? 0x1.8p23 : 0x1.8p52));
    const vec q = (value * inverse + round) - round, gap = value - q * unit;
    const FM_NAME(wholes) whole = __builtin_convertvector(q, FM_NAME(wholes));
    *gaps += gap * gap;
    *squares += whole * whole;
    *(FM_NAME(row_bytes) *)to = __builtin_convertvector(whole + 128, FM_NAME(row_bytes));
}

/* Codes of rows start .. start + count of the fit from framed rows. */
static void FM_NAME(code_rows)(const void *framed, ptrdiff_t count, ptrdiff_t d,
                               const fm_row_codes *p, ptrdiff_t start)
{
    const real *x = framed;
    const float columns = __builtin_sqrtf((float)d);
    const ptrdiff_t whole = d / FM_LANES * FM_LANES, left = d - whole;
    for (ptrdiff_t i = start; i < start + count; i++, x += d) {
        uint8_t *to = p->codes + i * 8 * p->pairs;
        real last[FM_LANES] = {0}, lanes[FM_LANES], largest = FM_CODE_LEAST;
        memcpy(last, x + whole, (size_t)left * sizeof(real));
        vec most = fm_max(fm_load(last), -fm_load(last));
        for (ptrdiff_t t = 0; t < whole; t += FM_LANES)
            most = fm_max(most, fm_max(fm_load(x + t), -fm_load(x + t)));
        fm_store(lanes, most);
        for (int l = 0; l < FM_LANES; l++)
            largest = lanes[l] > largest ? lanes[l] : largest;
        if (!(largest < FM_CODE_GREATEST)) {
            memset(to, 128, (size_t)(8 * p->pairs));
            p->rows[i] = (fm_coded_row){.unit = 1, .square = 0, .rest = INFINITY};
            continue;
        }
        const float unit = (float)largest / 127;
        const vec units = fm_broadcast((real)unit), inverse = fm_broadcast(1 / (real)unit);
        vec gaps = fm_broadcast(0);
        FM_NAME(wholes) squares = {0};
        for (ptrdiff_t t = 0; t < whole; t += FM_LANES)
            FM_NAME(code_columns)(fm_load(x + t), inverse, units, &gaps, &squares, to + t);
        if (8 * p->pairs > whole) {
            uint8_t code[FM_LANES];
            memset(to + whole, 128, (size_t)(8 * p->pairs - whole));
            FM_NAME(code_columns)(fm_load(last), inverse, units, &gaps, &squares, code);
            memcpy(to + whole, code, (size_t)left);
        }
        real rest = 0;
        int32_t square = 0;
        fm_store(lanes, gaps);
        for (int l = 0; l < FM_LANES; l++)
            rest += lanes[l], square += squares[l];
        p->rows[i].unit = unit;
        p->rows[i].square = unit * unit * (float)square;
        /* A gap is off by 127 units in the last place of one step, where nothing fuses it. */
        p->rows[i].rest =
            (__builtin_sqrtf((float)rest) + 0x1p-16f * unit * columns) * (1 + 0x1p-10f);
    }
}

/* Eight numbers of centres as the kernels of the scores see them. */
FM_INLINE fm_double8 FM_NAME(center_numbers)(const double *c)
{
    const fm_double8 value = *(const fm_double8 *)c;
#ifdef FM_DOUBLE
    return value;
#else
    return __builtin_convertvector(__builtin_convertvector(value, fm_float8), fm_double8);
#endif
}

/* Codes of the centres c (size, d) of a group, whose panels start with `panel`. */
static void FM_NAME(code_group)(const double *c, ptrdiff_t size, ptrdiff_t d, const fm_row_codes *p,
                                ptrdiff_t group, ptrdiff_t panel)
{
    double most = FM_CODE_LEAST, rest = 0;
    int32_t square = 0;
    fm_double8 largest = {0};
    ptrdiff_t at = 0;
    for (; at + 8 <= size * d; at += 8) {
        const fm_long8 value = (fm_long8)FM_NAME(center_numbers)(c + at) & INT64_MAX;
        const fm_long8 greater = (fm_double8)value > largest;
        largest = (fm_double8)((greater & value) | (~greater & (fm_long8)largest));
    }
    for (int l = 0; l < 8; l++)
        most = largest[l] > most ? largest[l] : most;
    for (; at < size * d; at++) {
        const double value = (double)(real)c[at], magnitude = value < 0 ? -value : value;
        most = magnitude > most ? magnitude : most;
    }
    const int usable = most < FM_CODE_GREATEST;
    const double unit = usable ? (double)((float)most / 127) : 1, inverse = 1 / unit,
                 round = 0x1.8p52;
    for (ptrdiff_t j = 0; j < size; j++, c += d) {
        const ptrdiff_t column = 8 * panel + j;
        int8_t *to = (int8_t *)(p->panels + column / 8 * p->pairs * 16 + column % 8 * 2);
        fm_double8 gaps = {0};
        fm_int8 totals = {0}, squares = {0};
        for (ptrdiff_t t = 0; t < d; t += 8) {
            double some[8] = {0};
            const double *from = c + t;
            if (t + 8 > d)
                from = memcpy(some, from, (size_t)(d - t) * sizeof(double));
            const fm_double8 value = usable ? FM_NAME(center_numbers)(from) : (fm_double8){0};
            const fm_double8 z = (value * inverse + round) - round, gap = value - z * unit;
            const fm_int8 whole = __builtin_convertvector(z, fm_int8);
            gaps += gap * gap;
            totals += whole;
            squares += whole * whole;
            *(fm_code8 *)(to + t * 8) = __builtin_convertvector(whole, fm_code8);
        }
        double gap_sum = 0;
        int32_t total = 0, square_sum = 0;
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
        const ptrdiff_t left =
            first + count - i < FM_GROUP_ROWS ? first + count - i : FM_GROUP_ROWS;
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
            const int16_t proven = code_of(low[r] > 0 ? low[r] : 0, b->group_reach[group], inverse);
            int16_t *code = b->codes + x * b->stride + group;
            *code = proven > *code ? proven : *code;
            if (high[r] < rows.near[r]) {
                open->near[i + r] = high[r];
                b->upper[x] = high[r] * (1 + FM_BOUND_ROUNDING) - b->moved[b->labels[x]] + slack;
            }
        }
    }
}
