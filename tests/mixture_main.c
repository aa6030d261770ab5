/* SPDX-License-Identifier: BSD-3-Clause */
/* The mixture kernels against plain loops in long double.
 *
 *     mixture_main [isa]
 *
 * For every table that this processor runs, or the one named: sums of products on integers, which
 * must be exact, and exp, log, responsibilities and factors within their stated bounds.  Prints the
 * greatest errors of exp and log in units in the last place.  Exit status 1: a kernel is wrong, and
 * standard error says which; 2: no table of that name runs here; 3: no memory.
 */
#include <math.h>
#include <string.h>

#include "c_program.h"
#include "fm_kernels.h"

#define N_VALUES 20000

static uint64_t state = 1;
static const char *table;

static void check(int right, const char *what, ptrdiff_t d, ptrdiff_t count)
{
    if (!right) {
        fprintf(stderr, "mixture_main: %s: %s is wrong at d=%td, count=%td\n", table, what, d,
                count);
        exit(1);
    }
}

/* An integer in [-limit, limit]. */
static double integer(double limit)
{
    return floor(uniform(&state) * (2 * limit + 1)) - limit;
}

static double get(const void *array, ptrdiff_t i, int single)
{
    return single ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static void set(void *array, ptrdiff_t i, int single, double value)
{
    if (single)
        ((float *)array)[i] = (float)value;
    else
        ((double *)array)[i] = value;
}

/* Greatest error of exp (log: 0) or log (log: 1) in units in the last place. */
static double greatest_error(const fm_mixture_kernels *mixture, int single, int is_log)
{
    const int digits = single ? 24 : 53;
    const double range = single ? 80 : 700, size = single ? 4 : 8;
    void *x = take(N_VALUES, (ptrdiff_t)size), *value = take(N_VALUES, (ptrdiff_t)size);
    double worst = 0;
    for (ptrdiff_t i = 0; i < N_VALUES; i++) {
        double argument = (i % 3 ? 41.45 : range) * (uniform(&state) * 2 - 1);
        if (is_log) /* near 1, up to 1000, and anywhere */
            argument = i % 3 == 0   ? exp(argument)
                       : i % 3 == 1 ? 0.5 + 1.5 * uniform(&state)
                                    : 1 + 1000 * uniform(&state);
        if (i < 2)
            argument = is_log ? 1 + (double)i * (single ? 0x1p-23 : 0x1p-52) : (double)-i * 41.45;
        set(x, i, single, argument);
        set(value, i, single, argument);
    }
    (is_log ? mixture->log_all : mixture->exp_all)(value, N_VALUES);
    for (ptrdiff_t i = 0; i < N_VALUES; i++) {
        int exponent;
        const long double exact = is_log ? logl(get(x, i, single)) : expl(get(x, i, single));
        frexpl(exact, &exponent);
        const long double off =
            ldexpl(fabsl((long double)get(value, i, single) - exact), digits - exponent);
        if (!(off <= worst))
            worst = (double)off;
    }
    return worst;
}

/* Tiles of count rows of integers; x (count, d) row-major. */
static void *integer_tiles(const fm_tile_kernels *tile, ptrdiff_t count, ptrdiff_t d, int single,
                           double *x)
{
    const ptrdiff_t rows = tile->tile_rows, padded = (count + rows - 1) / rows * rows;
    void *tiles = take(padded * d, tile->itemsize);
    for (ptrdiff_t i = 0; i < count; i++)
        for (ptrdiff_t t = 0; t < d; t++) {
            x[i * d + t] = integer(2);
            set(tiles, (i / rows * d + t) * rows + i % rows, single, x[i * d + t]);
        }
    return tiles;
}

static void check_distances(const fm_isa *isa, int single, ptrdiff_t d, ptrdiff_t count)
{
    const fm_tile_kernels *tile = single ? isa->f32 : isa->f64;
    const fm_mixture_kernels *mixture = single ? isa->mixture_f32 : isa->mixture_f64;
    const ptrdiff_t size = tile->itemsize, rows = tile->tile_rows, k = 5;
    const ptrdiff_t padded = (count + rows - 1) / rows * rows, width = mixture->diagonal_width;
    double *x = TAKE(count * d, double), *p = TAKE(d * d, double), *mean = TAKE(k * d, double);
    double *scale = TAKE(k * d, double);
    void *panel = take(d * (d + 3) / 2, size), *out = take(padded * k, size);
    void *white = take(padded * d, size), *scratch = take(rows * d, size);
    void *groups = take((k + width - 1) / width * width * 2 * d, size);
    void *tiles = integer_tiles(tile, count, d, single, x);
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t t = 0; t <= i; t++)
            p[i * d + t] = integer(1);
    for (ptrdiff_t i = 0; i < k * d; i++) {
        mean[i] = integer(2);
        scale[i] = ldexp(1, (int)integer(1));
    }
    mixture->pack_factor(p, mean, d, panel);
    mixture->mahalanobis(tiles, count, d, panel, out, scratch);
    mixture->whiten(tiles, count, d, panel, white);
    for (ptrdiff_t r = 0; r < count; r++) {
        double square = 0;
        for (ptrdiff_t i = 0; i < d; i++) {
            double y = 0, z = 0;
            for (ptrdiff_t t = 0; t <= i; t++) {
                y += p[i * d + t] * (x[r * d + t] - mean[t]);
                z += p[i * d + t] * x[r * d + t];
            }
            square += y * y;
            check(get(white, (r / rows * d + i) * rows + r % rows, single) == z, "whiten", d,
                  count);
        }
        check(get(out, r, single) == square, "mahalanobis", d, count);
    }
    for (int spherical = 0; spherical < 2; spherical++) {
        mixture->pack_diagonal(mean, scale, k, d, spherical, groups);
        (spherical ? mixture->spherical : mixture->diagonal)(
            tiles, count, d, groups, k, out, padded, (fm_memory){(const char *)x, 8 * count * d});
        for (ptrdiff_t j = 0; j < k; j++)
            for (ptrdiff_t r = 0; r < count; r++) {
                double square = 0;
                for (ptrdiff_t t = 0; t < d; t++) {
                    const double s = spherical ? scale[j] : scale[j * d + t];
                    const double gap = (x[r * d + t] - mean[j * d + t]) * s;
                    square += gap * gap;
                }
                check(get(out, j * padded + r, single) == square,
                      spherical ? "spherical" : "diagonal", d, count);
            }
    }
}

static void check_softmax(const fm_isa *isa, int single, ptrdiff_t k, ptrdiff_t count)
{
    const fm_mixture_kernels *mixture = single ? isa->mixture_f32 : isa->mixture_f64;
    const ptrdiff_t size = single ? 4 : 8, stride = (count + 63) / 64 * 64;
    const double u = single ? 0x1p-24 : 0x1p-53;
    void *terms = take(k * stride, size), *packed = take(k, size);
    double *q = TAKE(k * stride, double), *constants = TAKE(k, double), *w = TAKE(count, double);
    double *log_prob = TAKE(count, double), *entropy = TAKE(count, double);
    double *share = TAKE(stride + 8, double), *wide = TAKE(stride, double);
    int32_t *list = TAKE(stride + 8, int32_t);
    for (ptrdiff_t j = 0; j < k; j++) {
        constants[j] = 1000 + integer(20) / 4;
        for (ptrdiff_t i = 0; i < stride; i++) { /* quarters: no term is near the cut-off */
            q[j * stride + i] = integer(uniform(&state) < 0.5 ? 30 : 400) / 4 + 100;
            set(terms, j * stride + i, single, q[j * stride + i]);
        }
    }
    for (ptrdiff_t i = 0; i < count; i++)
        w[i] = floor(3 * uniform(&state));
    const double greatest = mixture->pack_constants(constants, k, packed);
    void *other = take(k * stride, size);
    double *other_prob = TAKE(count, double);
    memcpy(other, terms, (size_t)(k * stride * size));
    const ptrdiff_t live =
        mixture->softmax(terms, count, k, stride, packed, greatest, 0, log_prob, entropy);
    ptrdiff_t positive = 0;
    for (ptrdiff_t i = 0; i < k * stride; i++)
        positive += i % stride < count && get(terms, i, single) > 0;
    check(positive <= live && live < positive + k * 64, "live pairs", k, count);
    /* Neither what was expected nor the entropies change a bit of the others. */
    mixture->softmax(other, count, k, stride, packed, greatest, k * count, other_prob, NULL);
    for (ptrdiff_t j = 0; j < k; j++)
        check(!memcmp((char *)other + j * stride * size, (char *)terms + j * stride * size,
                      (size_t)(count * size)),
              "softmax as expected", k, count);
    check(!memcmp(other_prob, log_prob, (size_t)count * sizeof(double)), "log_prob as expected", k,
          count);
    for (ptrdiff_t i = 0; i < count; i++) {
        long double top = -INFINITY, sum = 0, mixed = 0;
        for (ptrdiff_t j = 0; j < k; j++)
            top = fmaxl(top, (long double)constants[j] - q[j * stride + i] / 2);
        for (ptrdiff_t j = 0; j < k; j++) {
            const long double below = (long double)constants[j] - q[j * stride + i] / 2 - top;
            sum += below >= -41.45L ? expl(below) : 0;
        }
        for (ptrdiff_t j = 0; j < k; j++) {
            const long double below = (long double)constants[j] - q[j * stride + i] / 2 - top;
            const long double r = below >= -41.45L ? expl(below) / sum : 0;
            const long double got = get(terms, j * stride + i, single);
            /* The terms are exact here: what is left is exp, the sum and the quotient. */
            check(fabsl(got - r) <= (double)(k + 8) * u * r, "softmax", k, count);
            mixed -= r > 0 ? r * logl(r) : 0;
        }
        const long double exact = top + logl(sum);
        check(fabsl(log_prob[i] - exact) <= (double)(k + 8) * u * (1 + logl(sum)) + 1e-12,
              "log_prob", k, count);
        check(fabsl(entropy[i] - mixed) <= 100 * (double)(k + 8) * u, "entropy", k, count);
    }
    for (ptrdiff_t j = 0; j < k; j++) {
        const char *row = (const char *)terms + j * stride * size;
        const ptrdiff_t found = mixture->select_rows(row, w, count, list, share);
        ptrdiff_t expected = 0;
        mixture->widen(row, w, count, wide);
        for (ptrdiff_t i = 0; i < count; i++) {
            const double r = get(row, i, single) * w[i];
            check(wide[i] == r, "widen", k, count);
            if (r > 0) {
                check(expected < found && list[expected] == i && share[expected] == r,
                      "select_rows", k, count);
                expected++;
            }
        }
        check(expected == found, "select_rows", k, count);
        for (ptrdiff_t i = count; i < (count + 15) / 16 * 16; i++)
            check(wide[i] == 0 && get(row, i, single) == 0, "padding", k, count);
    }
}

/* A row without a finite term is reported, wherever it stands. */
static void check_infinite(const fm_isa *isa, int single, ptrdiff_t count)
{
    const fm_mixture_kernels *mixture = single ? isa->mixture_f32 : isa->mixture_f64;
    const ptrdiff_t size = single ? 4 : 8, stride = (count + 63) / 64 * 64, k = 2;
    void *terms = take(k * stride, size), *packed = take(k, size);
    double *log_prob = TAKE(count, double), constants[2] = {0, 0};
    const double greatest = mixture->pack_constants(constants, k, packed);
    for (ptrdiff_t far = 0; far < count; far++) {
        for (ptrdiff_t i = 0; i < k * stride; i++)
            set(terms, i, single, i % stride == far ? INFINITY : 1);
        const ptrdiff_t live =
            mixture->softmax(terms, count, k, stride, packed, greatest, 0, log_prob, NULL);
        check(live == -1, "row without a finite term", k, count);
    }
}

/* Rows through a list and with any strides, and moments of integers: all exact. */
static void check_moments(const fm_isa *isa, ptrdiff_t d, ptrdiff_t count)
{
    const fm_moment_kernels *moments = isa->moments;
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d), padded = (count + 15) / 16 * 16;
    float *x = TAKE(3 * count * d, float);
    double *offset = TAKE(d, double), *y = TAKE(count * stride, double), *r = TAKE(padded, double);
    double *columns = TAKE(4 * padded, double), *lanes = TAKE(FM_FEW_SIZE(4), double);
    double *squares = TAKE(count, double), *share = TAKE(count, double);
    double *first = TAKE(stride, double), *second = TAKE(FM_SECOND_SIZE(d), double);
    double *diagonal_first = TAKE(stride, double), *diagonal = TAKE(stride, double);
    double *round_first = TAKE(stride, double), *few_first = TAKE(stride, double);
    double *few_second = TAKE(FM_SECOND_SIZE(d), double), *full = TAKE(d * d, double);
    double *scratch = TAKE(FM_MOMENT_SCRATCH, double), round = 0, weight[3] = {0};
    ptrdiff_t *rows = TAKE(count, ptrdiff_t), found = 0;
    int32_t *list = TAKE(count, int32_t);
    const fm_matrix matrix = {(const char *)x, 3 * count, d, 4, 12 * count, FM_F32, 0};
    const fm_block block = {rows, 0, count};
    for (ptrdiff_t i = 0; i < 3 * count * d; i++)
        x[i] = (float)integer(9);
    for (ptrdiff_t t = 0; t < d; t++)
        offset[t] = integer(3);
    for (ptrdiff_t i = 0; i < count; i++) {
        rows[i] = 3 * (count - 1 - i) + i % 3;
        r[i] = fmax(0, integer(4)) / 4;
        list[found] = (int32_t)i;
        share[found] = r[i];
        found += r[i] > 0;
    }
    const ptrdiff_t half = found / 2;
    moments->frame_rows(&matrix, &block, offset, 2, y);
    moments->square_rows(y, d, count, squares);
    for (ptrdiff_t from = 0; from < found; from += from ? found : half ? half : found) {
        const ptrdiff_t part = from ? found - from : half ? half : found;
        moments->full(y, d, list + from, share + from, part, weight, first, second, scratch);
        moments->diagonal(y, d, list + from, share + from, part, diagonal_first, diagonal);
        moments->spherical(y, d, list + from, share + from, part, squares, weight + 1, round_first,
                           &round);
    }
    const ptrdiff_t n = 19; /* twelve of them, four, two and one */
    double *every_first = TAKE(n * stride, double), *every_second = TAKE(n * stride, double);
    double *every_lanes = TAKE(16 * n, double), *shares = TAKE(n * padded, double);
    for (ptrdiff_t j = 0; j < n; j++) /* component 3 is that of the lists */
        for (ptrdiff_t i = 0; i < count; i++)
            shares[j * padded + i] = j == 3 ? r[i] : uniform(&state);
    moments->diagonal_every(y, d, shares, padded, n, half, every_lanes, every_first, every_second);
    moments->diagonal_every(y + half * stride, d, shares + half, padded, n, count - half,
                            every_lanes, every_first, every_second);
    check(!memcmp(every_first + 3 * stride, diagonal_first, (size_t)d * sizeof(double)) &&
              !memcmp(every_second + 3 * stride, diagonal, (size_t)d * sizeof(double)) &&
              moments->fold_lanes(every_lanes + 16 * 3) == weight[0],
          "moments of every row", d, count);
    /* Of reals: with the bits of the lists, whether alone or beside other components. */
    for (ptrdiff_t j = 0; j < n; j++) {
        double *one = TAKE(2 * stride, double), weight_lanes[16] = {0};
        int32_t *all = TAKE(count, int32_t);
        for (ptrdiff_t i = 0; i < count; i++)
            all[i] = (int32_t)i;
        moments->diagonal(y, d, all, shares + j * padded, count, one, one + stride);
        moments->add_lanes(shares + j * padded, NULL, half, weight_lanes);
        moments->add_lanes(shares + j * padded + half, NULL, count - half, weight_lanes);
        check(!memcmp(one, every_first + j * stride, (size_t)d * sizeof(double)) &&
                  !memcmp(one + stride, every_second + j * stride, (size_t)d * sizeof(double)) &&
                  !memcmp(weight_lanes, every_lanes + 16 * j, sizeof weight_lanes),
              "moments of every row and list", d, count);
    }
    if (d <= 4) {
        moments->frame_columns(&matrix, &block, offset, 2, columns, padded);
        moments->few(columns, padded, d, r, count, lanes);
        moments->fold_few(lanes, d, weight + 2, few_first, few_second);
    }
    isa->gaussian.unpack_second(second, d, full);
    double total = 0, square = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        total += r[i];
    check(weight[0] == total && weight[1] == total, "weight", d, count);
    check(d > 4 || weight[2] == total, "weight of few", d, count);
    for (ptrdiff_t t = 0; t < d; t++) {
        double sum = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            const double value = (double)x[rows[i] + t * 3 * count] * 2 - offset[t];
            check(y[i * stride + t] == value, "frame_rows", d, count);
            sum += r[i] * value;
        }
        check(first[t] == sum && diagonal_first[t] == sum && round_first[t] == sum, "first", d,
              count);
        check(d > 4 || few_first[t] == sum, "first of few", d, count);
        for (ptrdiff_t s = 0; s <= t; s++) {
            double product = 0;
            for (ptrdiff_t i = 0; i < count; i++)
                product += r[i] * y[i * stride + t] * y[i * stride + s];
            check(full[t * d + s] == product && full[s * d + t] == product, "second", d, count);
            check(s < t || diagonal[t] == product, "diagonal moments", d, count);
            check(d > 4 || few_second[8 * t + s] == product, "second of few", d, count);
            square += s == t ? product : 0;
        }
    }
    check(round == square, "spherical moments", d, count);
}

/* P Sigma P^T = I and the determinant, of a matrix with eigenvalues of about 1; then failures. */
static void check_factor(const fm_isa *isa, ptrdiff_t d)
{
    double *a = TAKE(d * d, double), *p = TAKE(d * d, double), *scratch = TAKE(d * d, double);
    double log_det;
    long double exact = 0;
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = 0; j <= i; j++)
            a[i * d + j] = a[j * d + i] = (i == j) + uniform(&state) / (double)(2 * d);
    check(isa->gaussian.factor(a, d, p, &log_det, scratch) == -1, "factor", d, 0);
    for (ptrdiff_t i = 0; i < d; i++) {
        exact += logl(p[i * d + i]);
        for (ptrdiff_t j = 0; j <= i; j++) {
            long double sum = 0;
            for (ptrdiff_t s = 0; s <= i; s++)
                for (ptrdiff_t t = 0; t <= j; t++)
                    sum += (long double)p[i * d + s] * a[s * d + t] * p[j * d + t];
            check(fabsl(sum - (i == j)) <= 8 * (double)(d + 1) * 0x1p-53, "factor", d, 0);
        }
        for (ptrdiff_t j = i + 1; j < d; j++)
            check(p[i * d + j] == 0, "upper triangle", d, 0);
    }
    check(fabsl(log_det - exact) <= (double)(d + 2) * 0x1p-52, "log_det", d, 0);
    a[d * d - 1] = 0;
    check(isa->gaussian.factor(a, d, p, &log_det, scratch) == d - 1, "singular pivot", d, 0);
    a[0] = NAN;
    check(isa->gaussian.factor(a, d, p, &log_det, scratch) == 0, "pivot of NaN", d, 0);
}

static void check_table(const fm_isa *isa)
{
    static const ptrdiff_t columns[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 17, 24, 33, 61};
    table = isa->name;
    for (int single = 0; single < 2; single++) {
        const ptrdiff_t rows = (single ? isa->f32 : isa->f64)->tile_rows;
        const fm_mixture_kernels *mixture = single ? isa->mixture_f32 : isa->mixture_f64;
        const ptrdiff_t counts[] = {1, rows - 1, rows, rows + 1, 3 * rows + 1};
        const double exp_error = greatest_error(mixture, single, 0);
        const double log_error = greatest_error(mixture, single, 1);
        release_all();
        printf("%s %s exp %.3f log %.3f\n", table, single ? "f32" : "f64", exp_error, log_error);
        check(exp_error <= 2 && log_error <= 2, "exp or log", 0, N_VALUES);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
                check_distances(isa, single, columns[i], counts[c]);
                release_all();
            }
            for (ptrdiff_t k = 1; k <= 33; k += 8) {
                check_softmax(isa, single, k, counts[c]);
                release_all();
            }
            check_infinite(isa, single, counts[c]);
            release_all();
        }
    }
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        static const ptrdiff_t counts[] = {1, 15, 16, 17, 403};
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            check_moments(isa, columns[i], counts[c]);
        check_factor(isa, columns[i]);
        release_all();
    }
}

int main(int argc, char **argv)
{
    return for_each_isa("mixture_main", argc, argv, check_table);
}
