/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounds of distances from rows in codes of 8 bits and centres in codes of 8 or 16.
 *
 * With q of a row and z of a centre whole numbers, in a unit s of the row and u of the centre's
 * group, with r the row's reference, one of a few points among the rows, and with |x - r - s q| <= e
 * and |c - u z| <= h for each centre of the group,
 *
 *     |x - c|  >=  |r + s q - u z| - e - h,
 *     |r + s q - u z|^2  =  (s^2 |q|^2 + 2 s q . r) + |r - u z|^2 - 2 s u q . z,
 *
 * and at most |r + s q - u z| + e + h.  The first term is the row's, the second one for each pair of
 * a reference and a centre, and q . z is exact.  q is at most 127, and z as well where zero is the only
 * reference.  Where rows are much nearer to theirs than to zero, q is finer, and with it z: 256 times a
 * code of 8 bits and another one, at most 32639.  Four codes of a row are multiplied with four of a
 * centre by one instruction, as in shortlist.inc.h; two fours of eight centres fill a vector.
 */
typedef int64_t fm_long8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef double fm_double8 __attribute__((vector_size(64), aligned(8), may_alias));
typedef float fm_float8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int8_t fm_code8 __attribute__((vector_size(8), aligned(1), may_alias));
typedef uint8_t fm_byte8 __attribute__((vector_size(8), aligned(1), may_alias));

/* Units of rows are between these divided by 127: so large that neither they, squared, nor gaps of
 * 2^-17 of them, squared, underflow; and what is larger is not coded.  Those of centres, which are
 * squared in float64, are between the same divided by 127 or 32639. */
#define FM_CODE_LEAST 0x1p-50f
#define FM_CODE_GREATEST 0x1p100
/* Sums of squares beyond this may overflow. */
#define FM_CODE_SQUARE 0x1p120f
/* The bits of an infinite float. */
#define FM_SQUARE_NONE 0x7f800000

typedef int32_t FM_NAME(wholes) __attribute__((vector_size(4 * FM_LANES)));
typedef uint8_t FM_NAME(row_bytes) __attribute__((vector_size(FM_LANES), aligned(1), may_alias));

/* What rounding may do to |r + s q - u z|^2, relative to the sum of |s q|^2, |r|^2 and |u z|^2: its
 * terms, of which 2 s u q . z is in two parts, and their sums are off by thirteen half units in the
 * last place at most, and this is 32. */
#define FM_CODE_ROUNDING (2 * FM_BOUND_ROUNDING)

/* FM_LANES columns of a row less its reference: their codes, and what these add to the squares of codes
 * and gaps. */
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

/* The last columns of a row that do not fill a vector, and zeros. */
FM_INLINE vec FM_NAME(row_end)(const real *x, ptrdiff_t d)
{
    real some[FM_LANES] = {0};
    const ptrdiff_t left = d % FM_LANES;
    memcpy(some, x + (d - left), (size_t)left * sizeof(real));
    return fm_load(some);
}

/* Eight numbers in float64. */
FM_INLINE fm_double8 FM_NAME(eight_numbers)(const real *from)
{
#ifdef FM_DOUBLE
    return *(const fm_double8 *)from;
#else
    return __builtin_convertvector(*(const fm_float8 *)from, fm_double8);
#endif
}

/* Codes of rows start .. start + count of the fit from framed rows; labels: of all rows. */
static void FM_NAME(code_rows)(const void *framed, ptrdiff_t count, ptrdiff_t d,
                               const int32_t *labels, const fm_row_codes *p, ptrdiff_t start)
{
    const real *x = framed;
    const float columns = __builtin_sqrtf((float)d);
    const ptrdiff_t whole = d / FM_LANES * FM_LANES;
    const int referred = p->n_references > 1;
    for (ptrdiff_t i = start; i < start + count; i++, x += d) {
        uint8_t *const to = p->codes + i * 8 * p->pairs;
        fm_coded_row *const row = p->rows + i;
        *row = (fm_coded_row){1, 0, INFINITY, p->reference_of[labels[i]]};
        const real *const point = (const real *)p->references + row->reference * p->width;
        vec end = FM_NAME(row_end)(x, d);
        if (whole < d)
            end -= fm_load(point + whole);
        real lanes[FM_LANES], largest = FM_CODE_LEAST;
        vec most = fm_max(end, -end);
        for (ptrdiff_t t = 0; t < whole; t += FM_LANES) {
            const vec value = fm_load(x + t) - fm_load(point + t);
            most = fm_max(most, fm_max(value, -value));
        }
        fm_store(lanes, most);
        for (int l = 0; l < FM_LANES; l++)
            largest = lanes[l] > largest ? lanes[l] : largest;
        if (!(largest < FM_CODE_GREATEST)) {
            memset(to, 128, (size_t)(8 * p->pairs));
            continue;
        }
        const float unit = (float)largest / 127;
        const vec units = fm_broadcast((real)unit), inverse = fm_broadcast(1 / (real)unit);
        vec gaps = fm_broadcast(0);
        FM_NAME(wholes) squares = {0};
        for (ptrdiff_t t = 0; t < whole; t += FM_LANES)
            FM_NAME(code_columns)(fm_load(x + t) - fm_load(point + t), inverse, units, &gaps,
                                  &squares, to + t);
        memset(to + whole, 128, (size_t)(8 * p->pairs - whole));
        if (whole < d) {
            uint8_t code[FM_LANES];
            FM_NAME(code_columns)(end, inverse, units, &gaps, &squares, code);
            memcpy(to + whole, code, (size_t)(d - whole));
        }
        real rest = 0;
        int32_t square = 0;
        fm_store(lanes, gaps);
        for (int l = 0; l < FM_LANES; l++)
            rest += lanes[l], square += squares[l];
        double product = 0;
        if (referred) {
            fm_double8 products = {0};
            for (ptrdiff_t t = 0; t < d; t += 8)
                products +=
                    (__builtin_convertvector(*(const fm_byte8 *)(to + t), fm_double8) - 128) *
                    FM_NAME(eight_numbers)(point + t);
            for (int l = 0; l < 8; l++)
                product += products[l];
        }
        row->unit = unit;
        row->constant = (float)((double)unit * ((double)unit * square + 2 * product));
        /* A gap is off by twice 127 units in the last place of one step, where nothing fuses it. */
        row->rest = (__builtin_sqrtf((float)rest) + 0x1p-15f * unit * columns) * (1 + 0x1p-10f);
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
    double most = FM_CODE_LEAST, rest = 0, square = 0;
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
    const ptrdiff_t parts = p->parts;
    const double unit = usable ? (double)((float)most / (parts == 1 ? 127 : 32639)) : 1;
    const double inverse = 1 / unit, round = 0x1.8p52;
    for (ptrdiff_t j = 0; j < size; j++, c += d) {
        const ptrdiff_t at_panel = panel + j / 8, column = j % 8;
        int8_t *to = (int8_t *)(p->panels + at_panel * p->pairs * parts * 16 + column * 2);
        int32_t *const start = p->starts + at_panel * parts * 16 + column * 2;
        float *const apart = p->apart + at_panel * p->n_references * 8 + column;
        fm_double8 gaps = {0}, squares = {0}, products[FM_MOST_REFERENCES] = {{0}};
        fm_int8 totals[2] = {{0}};
        const double *points = p->points;
        for (ptrdiff_t t = 0; t < d; t += 8) {
            double some[8] = {0};
            const double *from = c + t;
            if (t + 8 > d)
                from = memcpy(some, from, (size_t)(d - t) * sizeof(double));
            const fm_double8 value = usable ? FM_NAME(center_numbers)(from) : (fm_double8){0};
            const fm_double8 z = (value * inverse + round) - round, gap = value - z * unit;
            fm_int8 part[2] = {__builtin_convertvector(z, fm_int8)};
            if (parts == 2) {
                part[1] = part[0];
                part[0] = (part[0] + 128) >> 8;
                part[1] -= 256 * part[0];
            }
            gaps += gap * gap;
            squares += z * z;
            for (ptrdiff_t f = 0; f < p->n_references; f++)
                products[f] += z * *(const fm_double8 *)(points + 8 * f);
            points += 8 * p->n_references;
            for (ptrdiff_t i = 0; i < parts; i++, to += 64) {
                totals[i] += part[i];
                *(fm_code8 *)to = __builtin_convertvector(part[i], fm_code8);
            }
        }
        double gap_sum = 0, square_sum = 0;
        for (int l = 0; l < 8; l++)
            gap_sum += gaps[l], square_sum += squares[l];
        for (ptrdiff_t i = 0; i < parts; i++) {
            int32_t total = 0;
            for (int l = 0; l < 8; l++)
                total += totals[i][l];
            start[16 * i] = -128 * total;
        }
        for (ptrdiff_t f = 0; f < p->n_references; f++) {
            double product = 0;
            for (int l = 0; l < 8; l++)
                product += products[f][l];
            apart[8 * f] =
                (float)(unit * (unit * square_sum - 2 * product) + (double)p->reference_squares[f]);
        }
        rest = gap_sum > rest ? gap_sum : rest;
        square = square_sum > square ? square_sum : square;
    }
    p->group_unit[group] = (float)unit;
    p->group_square[group] = (float)(unit * unit * square) * (1 + FM_BOUND_ROUNDING);
    p->group_rest[group] =
        usable ? (float)__builtin_sqrt(rest) * (1 + FM_BOUND_ROUNDING) : INFINITY;
}

/* Products of a row with eight centres; the two fours of a centre are in one lane of 64 bits. */
FM_INLINE fm_float8 FM_NAME(code_products)(fm_short_counts sums)
{
    const fm_long8 both = (fm_long8)sums + ((fm_long8)sums >> 32);
    return __builtin_convertvector(__builtin_convertvector(both, fm_int8), fm_float8);
}

/* |r + s q - u z|^2 of eight rows and the centres of n_panels panels: the least of each row, skip as
 * in greatest_scores, and where own is not NULL those of the columns left out.  parts: a constant. */
FM_INLINE void FM_NAME(code_squares)(const fm_row_codes *p, const ptrdiff_t parts, ptrdiff_t panel,
                                     ptrdiff_t n_panels, const uint8_t *const row[8],
                                     const fm_coded_row *coded, const float *twice,
                                     const int32_t *skip, float *own, float *least)
{
    const ptrdiff_t pairs = p->pairs, width = 16 * parts, n_references = p->n_references;
    const int32_t *centers = p->panels + panel * pairs * width, *start = p->starts + panel * width;
    const float *apart = p->apart + panel * n_references * 8;
    fm_int8 best = (fm_int8){0} - FM_SQUARE_NONE;
    for (ptrdiff_t q = 0; q < n_panels; q++, start += width, apart += n_references * 8) {
        fm_short_counts high[8], low[8];
        for (int r = 0; r < 8; r++) {
            high[r] = *(const fm_short_counts *)start;
            if (parts == 2)
                low[r] = *(const fm_short_counts *)(start + 16);
        }
        for (ptrdiff_t t = 0; t < pairs; t++, centers += width) {
            const fm_short_counts upper = *(const fm_short_counts *)centers;
            fm_short_counts lower = {0};
            if (parts == 2)
                lower = *(const fm_short_counts *)(centers + 16);
            FM_UNROLL
            for (int r = 0; r < 8; r++) {
                int64_t codes;
                memcpy(&codes, row[r] + 8 * t, sizeof codes);
                const fm_short_counts those = (fm_short_counts)(codes - (fm_long8){0});
                high[r] = fm_short_add(high[r], those, upper);
                if (parts == 2)
                    low[r] = fm_short_add(low[r], those, lower);
            }
        }
        fm_int8 score[8];
        FM_UNROLL
        for (int r = 0; r < 8; r++) {
            fm_float8 product = FM_NAME(code_products)(high[r]);
            if (parts == 2)
                product = 256 * product + FM_NAME(code_products)(low[r]);
            const ptrdiff_t reference = parts == 1 ? 0 : coded[r].reference;
            const fm_float8 far = *(const fm_float8 *)(apart + 8 * reference);
            const fm_int8 square = (fm_int8)((far + coded[r].constant) - twice[r] * product);
            /* Floats that are not negative are in the order of their bits. */
            score[r] = -(square & ~(square >> 31));
        }
        if (own)
            for (int r = 0; r < 8; r++)
                if (skip[r] >= 8 * q && skip[r] < 8 * q + 8) {
                    const int32_t square = -score[r][skip[r] - 8 * q];
                    memcpy(own + r, &square, sizeof square);
                }
        best = greatest_scores(best, score, skip, 8 * q, FM_SQUARE_NONE);
    }
    *(fm_int8 *)least = -best;
}

/* Not inlined, as prefix_scores. */
#define FM_CODE_SQUARES(parts)                                                                     \
    static __attribute__((noinline)) void FM_NAME(code_squares_##parts)(                           \
        const fm_row_codes *p, ptrdiff_t panel, ptrdiff_t n_panels, const uint8_t *const row[8],   \
        const fm_coded_row *coded, const float *twice, const int32_t *skip, float *own,            \
        float *least)                                                                              \
    {                                                                                              \
        FM_NAME(code_squares)(p, parts, panel, n_panels, row, coded, twice, skip, own, least);     \
    }
FM_CODE_SQUARES(1)
FM_CODE_SQUARES(2)
#undef FM_CODE_SQUARES

/* Bounds of the distances of rows to the centres of a group but the one left out, and, where high is
 * not NULL, from above to that one; infinity where nothing is known of it. */
FM_INLINE void FM_NAME(code_distances)(const fm_row_codes *p, ptrdiff_t group, ptrdiff_t panel,
                                       ptrdiff_t n_panels, const fm_group_rows *rows, float *low,
                                       float *high)
{
    const float unit = p->group_unit[group], rest = p->group_rest[group];
    const float columns = 127 * __builtin_sqrtf((float)(8 * p->pairs));
    const uint8_t *row[FM_GROUP_ROWS];
    float least[FM_GROUP_ROWS], own[FM_GROUP_ROWS], twice[FM_GROUP_ROWS];
    fm_coded_row coded[FM_GROUP_ROWS];
    for (ptrdiff_t r = 0; r < (rows->count + 7) / 8 * 8; r++) {
        const ptrdiff_t x = rows->row[r < rows->count ? r : rows->count - 1];
        row[r] = p->codes + x * 8 * p->pairs;
        coded[r] = p->rows[x];
        twice[r] = 2 * coded[r].unit * unit;
        own[r] = INFINITY;
    }
    for (ptrdiff_t r = 0; r < rows->count; r += 8)
        (p->parts == 1 ? FM_NAME(code_squares_1) : FM_NAME(code_squares_2))(
            p, panel, n_panels, row + r, coded + r, twice + r, rows->skips ? rows->skip + r : NULL,
            high ? own + r : NULL, least + r);
    for (ptrdiff_t r = 0; r < rows->count; r++) {
        /* |s q|, |r| and |u z| at most, squared. */
        const float longest = coded[r].unit * columns;
        const float most =
            longest * longest + p->reference_squares[coded[r].reference] + p->group_square[group];
        const float off = FM_CODE_ROUNDING * most + FLT_MIN;
        const float far = (coded[r].rest + rest) * (1 + FM_BOUND_ROUNDING);
        const float gap = least[r] - off;
        const int usable = most < FM_CODE_SQUARE;
        low[r] = __builtin_sqrtf(gap > 0 ? gap : 0) * (1 - FM_BOUND_ROUNDING) - far;
        if (!usable)
            low[r] = 0;
        if (high)
            high[r] =
                usable ? __builtin_sqrtf(own[r] + off) * (1 + FM_BOUND_ROUNDING) + far : INFINITY;
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
    const float slack = bound_slack(b), inverse = 1 / b->step;
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
