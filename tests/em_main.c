/* SPDX-License-Identifier: BSD-3-Clause */
/* EM for Gaussian mixtures (PRML 9.23 to 9.28) from a given start on src/ alone.
 *
 *     em_main [isa]
 *
 * For every table that this processor runs, or the one named, prints a hash (64-bit FNV-1a) for
 * each dtype and shape: parameters, log-likelihood and entropy of each iteration with full
 * covariances, and the last responsibilities; then one E-step and its moments for each of the other
 * covariance types; one of all, "all"; and "exact", of the float64 unit given numbers that no
 * kernel computed.  "all" agrees among the tables with fused multiply-adds, "exact" among all.
 *
 * Exit status 1: another size of the blocks gives other bits; 2: no table of that name runs here;
 * 3: no memory.
 */
#include <inttypes.h>
#include <math.h>

#include "c_program.h"
#include "fm_kernels.h"

#define N_ITERATIONS 4
#define SLOT_ROWS 1024
/* The stride of responsibilities: a block's rows and one line. */
#define STRIDE (SLOT_ROWS + 16)

typedef struct {
    ptrdiff_t n, d, k;
    int weighted;
} shape;

/* 1 to 4 columns have kernels of their own; 17 and 33 leave a row after groups of 6, 8 and 16; 150
 * columns are several groups of vectors, and more rows than a list takes at a time. */
static const shape shapes[] = {{2500, 1, 3, 0},  {2100, 2, 8, 1}, {1500, 3, 5, 0},
                               {2103, 4, 6, 1},  {1203, 5, 4, 1}, {1600, 16, 7, 0},
                               {1337, 17, 5, 1}, {700, 33, 3, 0}, {600, 150, 2, 1}};

typedef struct {
    const fm_isa *isa;
    const fm_tile_kernels *tile;
    const fm_mixture_kernels *mixture;
    ptrdiff_t n, d, k, block_rows;
    fm_matrix x;
    const double *w; /* NULL: 1 */
    double *pivot;
    void *offset; /* the pivot in the dtype of the tiles */
} problem;

/* Sums of one slot or of all rows; sizes as in fm_gaussian.h. */
typedef struct {
    double *weight, *first, *second, *lanes, log_prob[16], entropy[16], total[2];
} sums;

enum type {
    FULL,
    TIED,
    DIAGONAL,
    SPHERICAL
};

typedef struct {
    double *means, *factors, *constants; /* factors (k, d, d) */
} parameters;

static void draw(problem *p, int weighted)
{
    uint64_t state = (uint64_t)(p->n + 1000 * p->d + 1000000 * p->k);
    double *blob = TAKE(p->k * p->d, double), *w = TAKE(p->n, double);
    char *x = take(p->n * p->d, p->tile->itemsize);
    for (ptrdiff_t i = 0; i < p->k * p->d; i++)
        blob[i] = 6 * uniform(&state);
    for (ptrdiff_t i = 0; i < p->n; i++) {
        const ptrdiff_t j = (ptrdiff_t)(uniform(&state) * (double)p->k);
        for (ptrdiff_t t = 0; t < p->d; t++) {
            const double noise = uniform(&state) + uniform(&state) - 1;
            const double value = 100 + blob[j * p->d + t] + 2 * noise;
            if (p->x.type == FM_F64)
                ((double *)x)[i * p->d + t] = value;
            else
                ((float *)x)[i * p->d + t] = (float)value;
        }
        w[i] = floor(5 * uniform(&state));
    }
    p->x.data = x;
    p->w = weighted ? w : NULL;
    p->pivot = TAKE(p->d, double);
    p->offset = take(p->d, p->tile->itemsize);
    for (ptrdiff_t t = 0; t < p->d; t++) {
        p->pivot[t] = 103;
        if (p->x.type == FM_F64)
            ((double *)p->offset)[t] = 103;
        else
            ((float *)p->offset)[t] = 103;
    }
}

static parameters new_parameters(const problem *p)
{
    return (parameters){TAKE(p->k * p->d, double), TAKE(p->k * p->d * p->d, double),
                        TAKE(p->k, double)};
}

static sums new_sums(const problem *p)
{
    const ptrdiff_t d = p->d, k = p->k;
    return (sums){.weight = TAKE(k, double),
                  .first = TAKE(k * FM_MOMENT_STRIDE(d), double),
                  .second = TAKE(k * FM_SECOND_SIZE(d), double),
                  .lanes = TAKE(k * FM_FEW_SIZE(4), double)};
}

/* Squared distances of a block's tiles to all components. */
static void distances(const problem *p, enum type type, const parameters *at, const void *tiles,
                      ptrdiff_t count, char *out, void *scratch)
{
    const ptrdiff_t d = p->d, k = p->k, size = p->tile->itemsize;
    const ptrdiff_t width = p->mixture->diagonal_width, padded = (k + width - 1) / width * width;
    const int mark = n_allocations;
    if (type == FULL)
        for (ptrdiff_t j = 0; j < k; j++) {
            void *panel = take(d * (d + 3) / 2, size);
            p->mixture->pack_factor(at->factors + j * d * d, at->means + j * d, d, panel);
            p->mixture->mahalanobis(tiles, count, d, panel, out + j * STRIDE * size, scratch);
        }
    else if (type == TIED) {
        const ptrdiff_t narrow = p->tile->distance_width;
        void *panel = take(d * (d + 3) / 2, size), *white = take(STRIDE * d, size);
        void *centers = take((k + narrow - 1) / narrow * narrow * d, size);
        double *zeta = TAKE(k * d, double);
        for (ptrdiff_t j = 0; j < k; j++)
            p->isa->gaussian.triangular_product(at->factors, at->means + j * d, d, zeta + j * d);
        p->mixture->pack_factor(at->factors, NULL, d, panel);
        p->mixture->whiten(tiles, count, d, panel, white);
        p->tile->pack_centers(zeta, k, d, narrow, centers, NULL);
        p->tile->distances(white, count, d, centers, k, out, STRIDE);
    } else {
        const int spherical = type == SPHERICAL;
        void *panel = take(padded * 2 * d, size);
        double *scale = TAKE(k * d, double);
        for (ptrdiff_t j = 0; j < k; j++)
            for (ptrdiff_t t = 0; t < d; t++)
                scale[spherical ? j : j * d + t] = at->factors[j * d * d + t * d + t];
        p->mixture->pack_diagonal(at->means, scale, k, d, spherical, panel);
        (spherical ? p->mixture->spherical : p->mixture->diagonal)(tiles, count, d, panel, k, out,
                                                                   STRIDE, (fm_memory){0});
    }
    release_to(mark);
}

/* The sums of component j over a block. */
static void add_moments(const problem *p, enum type type, const void *r, const double *w,
                        ptrdiff_t count, const double *y, ptrdiff_t j, sums *s)
{
    const ptrdiff_t d = p->d;
    const fm_moment_kernels *moments = p->isa->moments;
    double *weight = s->weight + j, *first = s->first + j * FM_MOMENT_STRIDE(d);
    double *second = s->second + j * FM_SECOND_SIZE(d);
    const int mark = n_allocations;
    double *share = TAKE(STRIDE + 8, double), *squares = TAKE(STRIDE, double);
    int32_t *list = TAKE(STRIDE + 8, int32_t);
    if (type == FULL && d <= 4) {
        p->mixture->widen(r, w, count, share);
        moments->few(y, STRIDE, d, share, count, s->lanes + j * FM_FEW_SIZE(d));
    } else {
        const ptrdiff_t found = p->mixture->select_rows(r, w, count, list, share);
        moments->square_rows(y, d, count, squares);
        if (type == FULL)
            moments->full(y, d, list, share, found, weight, first, second,
                          TAKE(FM_MOMENT_SCRATCH, double));
        else if (type == DIAGONAL) {
            moments->diagonal(y, d, list, share, found, first, second);
            p->mixture->widen(r, w, count, share);
            moments->add_lanes(share, NULL, count, s->lanes + 16 * j);
        } else
            moments->spherical(y, d, list, share, found, type == TIED ? NULL : squares, weight,
                               first, second);
    }
    release_to(mark);
}

/* E-step and moments of all rows, slot by slot; the hash of the responsibilities. */
static uint64_t pass(const problem *p, enum type type, const parameters *at, sums *all)
{
    const ptrdiff_t d = p->d, k = p->k, size = p->tile->itemsize;
    const int few = type == FULL && d <= 4;
    const fm_moment_kernels *moments = p->isa->moments;
    uint64_t hash = HASH_START;
    const int start_mark = n_allocations;
    void *constants = take(k, size), *tiles = take(STRIDE * d, size);
    void *scratch = take(p->tile->tile_rows * d, size);
    char *r = take(k * STRIDE, size);
    double *y = TAKE(STRIDE * FM_MOMENT_STRIDE(d), double);
    double *log_prob = TAKE(STRIDE, double), *entropy = TAKE(STRIDE, double);
    const double greatest = p->mixture->pack_constants(at->constants, k, constants);
    for (ptrdiff_t slot = 0; slot < p->n; slot += SLOT_ROWS) {
        const ptrdiff_t end = p->n - slot < SLOT_ROWS ? p->n : slot + SLOT_ROWS;
        const int mark = n_allocations;
        sums s = new_sums(p);
        for (ptrdiff_t start = slot; start < end; start += p->block_rows) {
            const ptrdiff_t left = end - start;
            const fm_block block = {NULL, start, left < p->block_rows ? left : p->block_rows};
            const double *w = p->w ? p->w + start : NULL;
            p->tile->pack(&p->x, &block, p->offset, 1, tiles, (fm_memory){0}, scratch);
            distances(p, type, at, tiles, block.count, r, scratch);
            p->mixture->softmax(r, block.count, k, STRIDE, constants, greatest, 0, log_prob,
                                entropy);
            moments->add_lanes(log_prob, w, block.count, s.log_prob);
            moments->add_lanes(entropy, w, block.count, s.entropy);
            if (few)
                moments->frame_columns(&p->x, &block, p->pivot, 1, y, STRIDE);
            else
                moments->frame_rows(&p->x, &block, p->pivot, 1, y);
            for (ptrdiff_t j = 0; j < k; j++)
                add_moments(p, type, r + j * STRIDE * size, w, block.count, y, j, &s);
            for (ptrdiff_t i = 0; i < block.count; i++)
                for (ptrdiff_t j = 0; j < k; j++)
                    hash = hash_bytes(hash, r + (j * STRIDE + i) * size, size);
        }
        for (ptrdiff_t j = 0; few && j < k; j++)
            moments->fold_few(s.lanes + j * FM_FEW_SIZE(d), d, all->weight + j,
                              all->first + j * FM_MOMENT_STRIDE(d),
                              all->second + j * FM_SECOND_SIZE(d));
        for (ptrdiff_t j = 0; j < k; j++)
            all->weight[j] +=
                type == DIAGONAL ? moments->fold_lanes(s.lanes + 16 * j) : s.weight[j];
        for (ptrdiff_t i = 0; i < k * FM_MOMENT_STRIDE(d); i++)
            all->first[i] += s.first[i];
        for (ptrdiff_t i = 0; i < k * FM_SECOND_SIZE(d); i++)
            all->second[i] += s.second[i];
        all->total[0] += moments->fold_lanes(s.log_prob);
        all->total[1] += moments->fold_lanes(s.entropy);
        release_to(mark);
    }
    release_to(start_mark);
    return hash;
}

/* Factors and constants of a covariance with 0.01 added to its diagonal. */
static void set_component(const problem *p, double *covariance, double share, ptrdiff_t j,
                          parameters *to)
{
    const ptrdiff_t d = p->d;
    double log_det, log_share;
    for (ptrdiff_t t = 0; t < d; t++)
        covariance[t * d + t] += 0.01;
    const ptrdiff_t pivot = p->isa->gaussian.factor(covariance, d, to->factors + j * d * d,
                                                    &log_det, TAKE(d * d, double));
    if (pivot >= 0)
        fprintf(stderr, "em_main: component %td has no factor at column %td\n", j, pivot);
    p->isa->gaussian.log_all(&share, 1, &log_share);
    to->constants[j] = log_share + log_det - (double)d * 0.9189385332046727;
}

/* Log-likelihoods and parameters of a few iterations, and one pass for each of the other types. */
static uint64_t fit(problem *p, ptrdiff_t block_rows)
{
    const ptrdiff_t d = p->d, k = p->k;
    const int mark = n_allocations;
    parameters at = new_parameters(p);
    double *covariance = TAKE(d * d, double);
    uint64_t hash = HASH_START;
    p->block_rows = block_rows;
    for (ptrdiff_t j = 0; j < k; j++) {
        for (ptrdiff_t t = 0; t < d; t++) {
            const ptrdiff_t from = p->n / k * j * d + t;
            const double value = p->x.type == FM_F64 ? ((const double *)p->x.data)[from]
                                                     : (double)((const float *)p->x.data)[from];
            at.means[j * d + t] = value - p->pivot[t];
            for (ptrdiff_t other = 0; other < d; other++)
                covariance[t * d + other] = t == other ? 2 : 0.25;
        }
        set_component(p, covariance, 1 / (double)k, j, &at);
    }
    for (int type = TIED; type <= SPHERICAL; type++) {
        sums all = new_sums(p);
        const uint64_t shares = pass(p, (enum type)type, &at, &all);
        hash = HASH(hash, &shares, 1);
        hash = HASH(hash, all.weight, k);
        hash = HASH(hash, all.first, k * FM_MOMENT_STRIDE(d));
        hash = HASH(hash, all.second, k * FM_SECOND_SIZE(d));
        hash = HASH(hash, all.total, 2);
    }
    for (int iteration = 0; iteration < N_ITERATIONS; iteration++) {
        double total = 0;
        sums all = new_sums(p);
        const uint64_t shares = pass(p, FULL, &at, &all);
        for (ptrdiff_t j = 0; j < k; j++)
            total += all.weight[j];
        for (ptrdiff_t j = 0; j < k; j++) {
            p->isa->gaussian.mean_covariance(all.weight[j], all.first + j * FM_MOMENT_STRIDE(d),
                                             all.second + j * FM_SECOND_SIZE(d), d,
                                             at.means + j * d, covariance);
            set_component(p, covariance, all.weight[j] / total, j, &at);
        }
        hash = HASH(hash, &shares, 1);
        hash = HASH(hash, all.total, 2);
        hash = HASH(hash, at.means, k * d);
        hash = HASH(hash, at.factors, k * d * d);
        hash = HASH(hash, at.constants, k);
        if (getenv("EM_MAIN_TRACE"))
            fprintf(stderr, "%.17g %.17g\n", all.total[0] / total, all.total[1] / total);
    }
    release_to(mark);
    return hash;
}

/* The float64 unit given drawn numbers: a covariance A^T A, summed as any compiler must. */
static uint64_t hash_exact(const fm_isa *isa)
{
    enum {
        D = 37
    };
    uint64_t state = 1, hash = HASH_START;
    double *a = TAKE(D * D, double), *second = TAKE(FM_SECOND_SIZE(D), double);
    double *first = TAKE(FM_MOMENT_STRIDE(D), double), *mean = TAKE(D, double);
    double *covariance = TAKE(D * D, double), *factor = TAKE(D * D, double);
    double *scratch = TAKE(D * D, double), log_det;
    for (ptrdiff_t i = 0; i < D * D; i++)
        a[i] = uniform(&state);
    for (ptrdiff_t i = 0; i < D; i++) {
        first[i] = uniform(&state);
        for (ptrdiff_t j = 0; j <= i; j++)
            for (ptrdiff_t t = 0; t < D; t++)
                second[FM_SECOND_ROW(i) + j] += a[t * D + i] * a[t * D + j];
    }
    isa->gaussian.mean_covariance(3, first, second, D, mean, covariance);
    hash = HASH(hash, mean, D);
    hash = HASH(hash, covariance, D * D);
    isa->gaussian.unpack_second(second, D, covariance);
    const ptrdiff_t pivot = isa->gaussian.factor(covariance, D, factor, &log_det, scratch);
    isa->gaussian.triangular_product(factor, first, D, mean);
    isa->gaussian.log_all(a, D * D, a);
    hash = HASH(hash, &pivot, 1);
    hash = HASH(hash, factor, D * D);
    hash = HASH(hash, &log_det, 1);
    hash = HASH(hash, mean, D);
    return HASH(hash, a, D * D);
}

static void print_hashes(const fm_isa *isa)
{
    uint64_t all = HASH_START;
    for (int type = FM_F64; type <= FM_F32; type++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            const ptrdiff_t n = shapes[i].n, d = shapes[i].d, k = shapes[i].k;
            const fm_tile_kernels *tile = type == FM_F64 ? isa->f64 : isa->f32;
            problem p = {.isa = isa, .tile = tile, .n = n, .d = d, .k = k};
            p.mixture = type == FM_F64 ? isa->mixture_f64 : isa->mixture_f32;
            p.x = (fm_matrix){NULL, n, d, d * tile->itemsize, tile->itemsize, type, 0};
            draw(&p, shapes[i].weighted);
            const uint64_t one = fit(&p, 256), other = fit(&p, SLOT_ROWS);
            release_all();
            if (one != other) {
                fprintf(stderr, "em_main: %s: blocks of 256 and %d rows differ at %td x %td\n",
                        isa->name, SLOT_ROWS, n, d);
                exit(1);
            }
            all = HASH(all, &one, 1);
            printf("%s %s n=%td d=%td k=%td %s %016" PRIx64 "\n", isa->name,
                   type == FM_F64 ? "f64" : "f32", n, d, k,
                   shapes[i].weighted ? "weighted" : "plain", one);
        }
    const uint64_t exact = hash_exact(isa);
    release_all();
    printf("%s exact %016" PRIx64 "\n%s all %016" PRIx64 "\n", isa->name, exact, isa->name, all);
}

int main(int argc, char **argv)
{
    return for_each_isa("em_main", argc, argv, print_hashes);
}
