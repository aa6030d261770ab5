/* SPDX-License-Identifier: BSD-3-Clause */
/* The centres of shortlist.inc.h: their order, codes and units, and how far codes are off. */

/* Where the arrays of a shortlist are, to be written. */
typedef struct {
    int32_t *codes, *start, *label, *pivot_of;
    float *floats, *norms, *biases, *ratio, *vector_norm, *vector_error, *pivot_norm, *pivot_scores;
    real *pivot;
    double *nearest;
} FM_NAME(short_arrays);

/* Returns how many bytes they take. */
static ptrdiff_t FM_NAME(short_lay_out)(const fm_shortlist *p, FM_NAME(short_arrays) * to, char *at)
{
    const char *const start = at;
    const ptrdiff_t places = 16 * p->vectors, columns = FM_SHORT_FLOATS(p->d);
    const ptrdiff_t vectors = FM_SHORT_FLOATS(p->vectors);
#define FM_TAKE(name, type, count)                                                                 \
    to->name = (type *)at, at += ((count) * (ptrdiff_t)sizeof(type) + 63) / 64 * 64
    FM_TAKE(codes, int32_t, (p->d + 3) / 4 * places);
    FM_TAKE(start, int32_t, places);
    FM_TAKE(label, int32_t, places);
    FM_TAKE(pivot_of, int32_t, p->k + 1);
    FM_TAKE(nearest, double, p->k);
    FM_TAKE(floats, float, places *columns);
    FM_TAKE(norms, float, places);
    FM_TAKE(biases, float, places);
    FM_TAKE(ratio, float, vectors);
    FM_TAKE(vector_norm, float, vectors);
    FM_TAKE(vector_error, float, vectors);
    FM_TAKE(pivot_norm, float, p->pivots);
    FM_TAKE(pivot_scores, float, p->pivots *places);
    FM_TAKE(pivot, real, p->pivots * p->d);
#undef FM_TAKE
    return at - start;
}

static ptrdiff_t FM_NAME(shortlist_memory)(const fm_shortlist *p)
{
    FM_NAME(short_arrays) to;
    return FM_NAME(short_lay_out)(p, &to, NULL);
}

/* Labels of k centres by norm to an eighth of its power of two, the smallest first: clusters of few
 * rows have large ones.  key: room for k. */
static void FM_NAME(short_order)(const float *norms, float most, ptrdiff_t k, int32_t *label,
                                 int32_t *key)
{
    enum {
        KEYS = 256
    };
    int32_t ends[KEYS + 1] = {0};
    for (ptrdiff_t j = 0; j < k; j++) {
        float share = norms[j] / most;
        int32_t octave = 31;
        for (; share < 0.5f && octave > 0; octave--)
            share *= 2;
        const int32_t eighth = (int32_t)(share * 16) - 8; /* of share in 0.5 .. 1 */
        key[j] = octave * 8 + (eighth < 0 ? 0 : eighth > 7 ? 7 : eighth);
        ends[key[j] + 1]++;
    }
    for (int i = 0; i < KEYS; i++)
        ends[i + 1] += ends[i];
    for (ptrdiff_t j = 0; j < k; j++)
        label[ends[key[j]]++] = (int32_t)j;
}

/* |y|^2 and max |y_t| of a centre in floats. */
static float FM_NAME(short_square)(const float *y, ptrdiff_t columns, float *largest)
{
    fm_short_floats square = {0}, most = {0};
    for (ptrdiff_t t = 0; t < columns; t += 16) {
        const fm_short_floats value = *(const fm_short_floats *)(y + t);
        square += value * value;
        most = fm_short_max(most, fm_short_max(value, -value));
    }
    *largest = short_greatest(most);
    return fm_short_sum(square);
}

/* Codes of one vector of centres, from their floats, and what the kernel must know of it. */
static void FM_NAME(short_vector)(const fm_shortlist *p, ptrdiff_t v, FM_NAME(short_arrays) * to)
{
    const ptrdiff_t quads = (p->d + 3) / 4, columns = FM_SHORT_FLOATS(p->d);
    const ptrdiff_t part = v / FM_SHORT_VECTORS * FM_SHORT_VECTORS;
    const ptrdiff_t left = p->vectors - part;
    const ptrdiff_t width = 16 * (left < FM_SHORT_VECTORS ? left : FM_SHORT_VECTORS);
    int32_t *const codes = to->codes + part * quads * 16 + (v - part) * 16;
    float most = 127 * 0x1p-20f, norm = 0, error = 0;
    for (ptrdiff_t at = 16 * v; at < 16 * v + 16; at++) {
        float largest;
        FM_NAME(short_square)(to->floats + at * columns, columns, &largest);
        most = largest > most ? largest : most;
        norm = to->norms[at] > norm ? to->norms[at] : norm;
    }
    const float ratio = most / 127, inverse = 127 / most, round = 0x1.8p23f;
    for (ptrdiff_t lane = 0; lane < 16; lane++) {
        const float *const y = to->floats + (16 * v + lane) * columns;
        fm_short_floats rest = {0};
        fm_short_counts sum = {0};
        int32_t total = 0;
        for (ptrdiff_t t = 0; t < columns; t += 16) {
            const fm_short_floats value = *(const fm_short_floats *)(y + t);
            const fm_short_floats z = (value * inverse + round) - round, gap = value - z * ratio;
            const fm_short_counts code = __builtin_convertvector(z, fm_short_counts);
            const fm_short_bytes bytes = __builtin_convertvector(code, fm_short_bytes);
            int32_t fours[4];
            memcpy(fours, &bytes, sizeof fours);
            rest += gap * gap;
            sum += code;
            for (ptrdiff_t i = 0; i < 4 && t / 4 + i < quads; i++)
                codes[(t / 4 + i) * width + lane] = fours[i];
        }
        for (int l = 0; l < 16; l++)
            total += sum[l];
        to->start[16 * v + lane] = -128 * total;
        const float square = fm_short_sum(rest);
        error = square > error ? square : error;
    }
    /* Floats of the centres are off by 2^-23 of them. */
    to->vector_norm[v] = norm;
    to->vector_error[v] = __builtin_sqrtf(error) * (1 + 0x1p-10f) + norm * 0x1p-21f;
    to->ratio[v] = ratio;
}

/* Scores of all places from pivot number q, a point of the frame, and which labels it is the nearest
 * of: those of the greatest p . c - |p|^2 / 2, which nearest (k) has of the pivots so far. */
static void FM_NAME(short_pivot)(const fm_shortlist *p, ptrdiff_t q, const double *point,
                                 const double *c, FM_NAME(short_arrays) * to)
{
    const ptrdiff_t d = p->d, places = 16 * p->vectors;
    const double all = 1 / p->unit;
    real *const pivot = to->pivot + q * d;
    double square = 0;
    for (ptrdiff_t t = 0; t < d; t++) {
        pivot[t] = (real)point[t];
        square += (double)pivot[t] * all * ((double)pivot[t] * all);
    }
    to->pivot_norm[q] = (float)__builtin_sqrt(square) * (1 + 0x1p-20f);
    for (ptrdiff_t at = 0; at < places; at++) {
        const ptrdiff_t j = to->label[at];
        float *const score = to->pivot_scores + q * places + at;
        if (j < 0) {
            *score = -0x1p100f;
            continue;
        }
        double product = 0;
        if (q) {
            /* In eight chains, as floats of the centres would be off by too much. */
            double sum[8] = {0};
            ptrdiff_t t = 0;
            for (; t + 8 <= d; t += 8)
                for (int l = 0; l < 8; l++)
                    sum[l] += (double)(real)c[j * d + t + l] * (double)pivot[t + l];
            for (; t < d; t++)
                product += (double)(real)c[j * d + t] * (double)pivot[t];
            for (int l = 0; l < 8; l++)
                product += sum[l];
            product *= all * all;
        }
        *score = (float)(product + (double)to->biases[at]);
        if (q == 0 || product - square / 2 > to->nearest[j]) {
            to->nearest[j] = product - square / 2;
            to->pivot_of[j + 1] = (int32_t)q;
        }
    }
}

static void FM_NAME(shortlist_centers)(const double *c, const void *biases, const int32_t *order,
                                       const double *pivots, fm_shortlist *p, void *memory)
{
    const ptrdiff_t k = p->k, d = p->d, places = 16 * p->vectors, columns = FM_SHORT_FLOATS(d);
    FM_NAME(short_arrays) to;
    double most = 0, sizes[16] = {0};
    float norm = 0, bias = 0;
    FM_NAME(short_lay_out)(p, &to, memory);
    for (ptrdiff_t i = 0; i < k * d - 15; i += 16)
        for (int l = 0; l < 16; l++) {
            const double size = c[i + l] < 0 ? -c[i + l] : c[i + l];
            sizes[l] = size > sizes[l] ? size : sizes[l];
        }
    for (ptrdiff_t i = k * d / 16 * 16; i < k * d; i++) {
        const double size = c[i] < 0 ? -c[i] : c[i];
        most = size > most ? size : most;
    }
    for (int l = 0; l < 16; l++)
        most = sizes[l] > most ? sizes[l] : most;
    p->unit = most > 0x1p-200 && most < 0x1p200 ? most / 127 : 1;
    const double all = 1 / p->unit;
    if (order)
        memcpy(to.label, order, (size_t)places * sizeof *order);
    else {
        for (ptrdiff_t j = 0; j < k; j++) {
            double square = 0;
            for (ptrdiff_t t = 0; t < d; t++)
                square += c[j * d + t] * all * (c[j * d + t] * all);
            to.norms[j] = (float)__builtin_sqrt(square);
            norm = to.norms[j] > norm ? to.norms[j] : norm;
        }
        FM_NAME(short_order)(to.norms, norm > 0 ? norm : 1, k, to.label, (int32_t *)to.nearest);
        for (ptrdiff_t at = k; at < places; at++)
            to.label[at] = -1;
        norm = 0;
    }
    for (ptrdiff_t at = 0; at < places; at++) {
        const ptrdiff_t j = to.label[at];
        float *y = to.floats + at * columns, largest;
        for (ptrdiff_t t = 0; t < columns; t++)
            y[t] = j >= 0 && t < d ? (float)((double)(real)c[j * d + t] * all) : 0;
        to.norms[at] =
            __builtin_sqrtf(FM_NAME(short_square)(y, columns, &largest)) * (1 + 0x1p-10f);
        norm = to.norms[at] > norm ? to.norms[at] : norm;
        to.biases[at] = j >= 0 ? (float)((double)((const real *)biases)[j] * all * all) : 0;
        bias = -to.biases[at] > bias ? -to.biases[at] : bias;
    }
    for (ptrdiff_t v = 0; v < FM_SHORT_FLOATS(p->vectors); v++)
        if (v < p->vectors)
            FM_NAME(short_vector)(p, v, &to);
        else
            to.ratio[v] = to.vector_norm[v] = to.vector_error[v] = 0;
    to.pivot_of[0] = 0;
    for (ptrdiff_t q = 0; q < p->pivots; q++)
        FM_NAME(short_pivot)(p, q, pivots + q * d, c, &to);
    const double underflow =
        (double)(d + 2) * (sizeof(real) == 4 ? 0x1p-149 : 0x1p-1074) * all * all;
    p->norm = norm;
    p->most_bias = bias * (1 + 0x1p-20f);
    p->rounding = (float)(d + 4) * (sizeof(real) == 4 ? 0x1p-24f : 0x1p-53f);
    p->float_rounding = (float)(d + 16) * 0x1p-23f;
    p->underflow = underflow < 0x1p100 ? (float)underflow + FLT_MIN : INFINITY;
    p->codes = to.codes, p->start = to.start, p->label = to.label, p->floats = to.floats;
    p->ratio = to.ratio, p->vector_norm = to.vector_norm, p->vector_error = to.vector_error;
    p->pivot = to.pivot, p->pivot_norm = to.pivot_norm, p->pivot_of = to.pivot_of;
    p->pivot_scores = to.pivot_scores;
}
