/* SPDX-License-Identifier: BSD-3-Clause */
/* What shortlist.inc.h does with codes and floats: rows and centres in units, of no dtype. */

/* Rows whose sums of products fit the registers, with FM_SHORT_VECTORS vectors of centres. */
#define FM_SHORT_ROWS 6
/* Centres near to one row, beyond which it is left to kernel assign. */
#define FM_SHORT_ROOM 128
/* Units of a row are at least this divided by 127: so large that their products do not underflow. */
#define FM_SHORT_LEAST 0x1p-40f
/* Covers the roundings of sums of squares. */
#define FM_SHORT_SLACK (1 + 0x1p-10f)

typedef uint8_t fm_short_row_codes __attribute__((vector_size(16), aligned(1), may_alias));

/* Some rows y = x - p, and what the kernel knows of them; one in a lane where there are sixteen. */
typedef struct {
    float *floats;         /* y [row][FM_SHORT_FLOATS(d)] */
    uint8_t *codes;        /* q + 128, as y */
    float *scores;         /* (row, place) as far as codes tell */
    float *units, *errors; /* (row, vector) the unit of a score's code, and how far it is off */
    const float *pivot_scores[FM_SHORT_ROWS];
    float pivot_norm[16];
    float largest[16];                  /* max_t |y_t| */
    float base[16];                     /* what rounding may add to a score */
    float fine[16];                     /* by how much floats may be wrong about who wins */
    fm_short_floats top[FM_SHORT_ROWS]; /* the greatest that a score is at least, in its lane */
    float best[FM_SHORT_ROWS];          /* of all lanes; no number where the row is out of range */
} fm_short_rows;

FM_INLINE float short_greatest(fm_short_floats a)
{
#ifdef __AVX512F__
    return _mm512_reduce_max_ps((__m512)a);
#else
    float most = a[0];
    for (int lane = 1; lane < 16; lane++)
        most = a[lane] > most ? a[lane] : most;
    return most;
#endif
}

/* The greatest of 16, 8 or 4 floats. */
FM_INLINE float short_greatest_of(const float *a, int count)
{
    fm_short_floats all = {0};
    memcpy(&all, a, (size_t)count * sizeof *a);
    return short_greatest(all);
}

/* The greatest of lanes 0 to 7, and of 8 to 15. */
FM_INLINE void short_greatest_halves(fm_short_floats a, float *to)
{
#define FM_SWAP(a, ...) fm_mix(fm_short_counts, a, a, __VA_ARGS__)
    a = fm_short_max(a, FM_SWAP(a, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    a = fm_short_max(a, FM_SWAP(a, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    a = fm_short_max(a, FM_SWAP(a, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
#undef FM_SWAP
    to[0] = a[0], to[1] = a[8];
}

/* Codes of the rows, and what a score may be off by. */
FM_INLINE void short_codes(const fm_shortlist *p, fm_short_rows *rows)
{
    const ptrdiff_t columns = FM_SHORT_FLOATS(p->d), vectors = FM_SHORT_FLOATS(p->vectors);
    const fm_short_floats largest = *(const fm_short_floats *)rows->largest;
    fm_short_floats squares = {0}, gaps = {0};
    const fm_short_floats unit =
        fm_short_max(largest, FM_SHORT_LEAST - (fm_short_floats){0}) * (1 / 127.0f);
    const fm_short_floats inverse = 1 / unit;
    for (int r = 0; r < FM_SHORT_ROWS; r++) {
        const float *y = rows->floats + r * columns;
        uint8_t *codes = rows->codes + r * columns;
        const float s = unit[r], inverse_s = inverse[r], round = 0x1.8p23f;
        fm_short_floats square = {0}, gap = {0};
        for (ptrdiff_t t = 0; t < columns; t += 16) {
            const fm_short_floats value = *(const fm_short_floats *)(y + t);
            const fm_short_floats q = (value * inverse_s + round) - round, off = value - q * s;
            const fm_short_counts whole = __builtin_convertvector(q, fm_short_counts);
            square += value * value;
            gap += off * off;
            *(fm_short_row_codes *)(codes + t) =
                __builtin_convertvector(whole + 128, fm_short_row_codes);
        }
        squares[r] = fm_short_sum(square), gaps[r] = fm_short_sum(gap);
    }
    const fm_short_floats pivot_norm = *(const fm_short_floats *)rows->pivot_norm;
    const fm_short_floats length = fm_short_root(squares) * FM_SHORT_SLACK;
    /* A value is off by two roundings, and a gap by 127 units in the last place of one. */
    const fm_short_floats value_off = 0x1p-22f * length;
    const fm_short_floats off = 0x1p-16f * __builtin_sqrtf((float)p->d) * unit + value_off;
    const fm_short_floats rest = fm_short_root(gaps) * FM_SHORT_SLACK + off, size = length + rest;
    const fm_short_floats most_score = (pivot_norm + size) * p->norm + p->most_bias;
    const fm_short_floats base =
        FM_SHORT_SLACK * (p->rounding + 0x1p-19f) * most_score + p->underflow;
    *(fm_short_floats *)rows->base = base;
    *(fm_short_floats *)rows->fine =
        2 * (FM_SHORT_SLACK * p->float_rounding * p->norm * size + base);
    for (int r = 0; r < FM_SHORT_ROWS; r++) {
        /* Nothing reaches what is no number, and nothing is listed of rows out of range. */
        const int usable = size[r] < 0x1p40f && most_score[r] < 0x1p80f && base[r] < 0x1p80f;
        rows->top[r] = (usable ? -INFINITY : NAN) - (fm_short_floats){0};
        for (ptrdiff_t v = 0; v < vectors; v += 16) {
            const fm_short_floats norm = *(const fm_short_floats *)(p->vector_norm + v);
            const fm_short_floats error = *(const fm_short_floats *)(p->vector_error + v);
            const fm_short_floats far = rest[r] * norm + base[r];
            *(fm_short_floats *)(rows->units + r * vectors + v) =
                *(const fm_short_floats *)(p->ratio + v) * unit[r];
            *(fm_short_floats *)(rows->errors + r * vectors + v) = size[r] * error + far;
        }
    }
}

/* Scores of all rows against `some` vectors of centres, a constant, from number `first` on. */
FM_INLINE void short_vectors(const fm_shortlist *p, ptrdiff_t first, int some,
                             fm_short_rows *restrict rows)
{
    const ptrdiff_t columns = FM_SHORT_FLOATS(p->d), vectors = FM_SHORT_FLOATS(p->vectors);
    const ptrdiff_t quads = (p->d + 3) / 4, places = 16 * p->vectors;
    const int32_t *panel = p->codes + first * quads * 16;
    fm_short_counts acc[FM_SHORT_ROWS][FM_SHORT_VECTORS];
    FM_UNROLL
    for (int r = 0; r < FM_SHORT_ROWS; r++)
        for (int v = 0; v < some; v++)
            acc[r][v] = *(const fm_short_counts *)(p->start + 16 * (first + v));
    for (ptrdiff_t t = 0; t < quads; t++, panel += 16 * some) {
        fm_short_counts center[FM_SHORT_VECTORS];
        for (int v = 0; v < some; v++)
            center[v] = *(const fm_short_counts *)(panel + 16 * v);
        FM_UNROLL
        for (int r = 0; r < FM_SHORT_ROWS; r++) {
            int32_t four;
            memcpy(&four, rows->codes + r * columns + 4 * t, sizeof four);
            const fm_short_counts row = four - (fm_short_counts){0};
            for (int v = 0; v < some; v++)
                acc[r][v] = fm_short_add(acc[r][v], row, center[v]);
        }
    }
    FM_UNROLL
    for (int r = 0; r < FM_SHORT_ROWS; r++) {
        const float *unit = rows->units + r * vectors + first;
        const float *error = rows->errors + r * vectors + first;
        const float *from = rows->pivot_scores[r] + 16 * first;
        float *to = rows->scores + r * places + 16 * first;
        fm_short_floats top = rows->top[r];
        for (int v = 0; v < some; v++) {
            const fm_short_floats score =
                __builtin_convertvector(acc[r][v], fm_short_floats) * unit[v] +
                *(const fm_short_floats *)(from + 16 * v);
            *(fm_short_floats *)(to + 16 * v) = score;
            top = fm_short_max(score - error[v], top);
        }
        rows->top[r] = top;
    }
}

/* Scores of all rows against all centres. */
static inline void short_scores(const fm_shortlist *p, fm_short_rows *rows)
{
    ptrdiff_t first = 0;
    for (; first + FM_SHORT_VECTORS <= p->vectors; first += FM_SHORT_VECTORS)
        short_vectors(p, first, FM_SHORT_VECTORS, rows);
    switch (p->vectors - first) {
    case 3: short_vectors(p, first, 3, rows); break;
    case 2: short_vectors(p, first, 2, rows); break;
    case 1: short_vectors(p, first, 1, rows); break;
    }
    for (int r = 0; r < FM_SHORT_ROWS; r++)
        rows->best[r] = short_greatest(rows->top[r]);
}

/* Places whose centres are near to row r; more than FM_SHORT_ROOM, and at most 64 more: too many.
 * least: room for as many floats as vectors, in sixteens. */
FM_INLINE ptrdiff_t short_near(const fm_shortlist *p, const fm_short_rows *rows, int r,
                               float *least, int32_t *near)
{
    const ptrdiff_t vectors = FM_SHORT_FLOATS(p->vectors);
    const float *score = rows->scores + r * 16 * p->vectors, *error = rows->errors + r * vectors;
    ptrdiff_t n = 0;
    for (ptrdiff_t v = 0; v < vectors; v += 16)
        *(fm_short_floats *)(least + v) = rows->best[r] - *(const fm_short_floats *)(error + v);
    for (ptrdiff_t v = 0; v < p->vectors && n <= FM_SHORT_ROOM; v += FM_SHORT_VECTORS) {
        uint32_t flags[FM_SHORT_VECTORS] = {0}, any = 0;
        for (ptrdiff_t i = 0; i < FM_SHORT_VECTORS && v + i < p->vectors; i++)
            any |= flags[i] =
                (uint32_t)fm_short_reach(*(const fm_short_floats *)(score + 16 * (v + i)),
                                         least[v + i] - (fm_short_floats){0});
        if (any)
            for (int i = 0; i < FM_SHORT_VECTORS; i++)
                n += fm_list_flags(flags[i], (int32_t)(16 * (v + i)), near + n);
    }
    return n;
}

/* Of n places near to row r those that products of floats leave. */
FM_INLINE ptrdiff_t short_refine(const fm_shortlist *p, const fm_short_rows *rows, int r,
                                 int32_t *near, ptrdiff_t n)
{
    const ptrdiff_t columns = FM_SHORT_FLOATS(p->d);
    const float *y = rows->floats + r * columns;
    float score[FM_SHORT_ROOM], top = -INFINITY;
    for (ptrdiff_t i = 0; i < n; i++) {
        const float *center = p->floats + near[i] * columns;
        fm_short_floats acc[2] = {{0}};
        ptrdiff_t t = 0;
        for (; t + 32 <= columns; t += 32)
            for (int v = 0; v < 2; v++)
                acc[v] += *(const fm_short_floats *)(y + t + 16 * v) *
                          *(const fm_short_floats *)(center + t + 16 * v);
        if (t < columns)
            acc[0] += *(const fm_short_floats *)(y + t) * *(const fm_short_floats *)(center + t);
        score[i] = fm_short_sum(acc[0] + acc[1]) + rows->pivot_scores[r][near[i]];
        top = score[i] > top ? score[i] : top;
    }
    ptrdiff_t left = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        near[left] = near[i];
        left += score[i] >= top - rows->fine[r];
    }
    return left;
}
