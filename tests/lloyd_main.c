/* SPDX-License-Identifier: BSD-3-Clause */
/* Lloyd's algorithm (PRML 9.1) from a given start on src/ alone: no Python, no threads.
 *
 *     lloyd_main [isa]
 *
 * For every table that this processor runs, or the one named, prints a hash (64-bit FNV-1a) of a
 * fit for each dtype and shape: its labels, runners-up, distances, centres and objectives; one of
 * all fits; and one, "exact", of the float64 unit given labels that no kernel computed.  Equal
 * hashes are equal bits: "all" agrees among the tables with fused multiply-adds and "exact" among
 * all tables, whatever the compiler, the vector width and the machine.
 *
 * Exit status 1: the sums after additions and removals are not those of one full pass, or labels
 * found in another way are not those of assign, or bounds do not hold; 2: no table of that name runs
 * here; 3: no memory.
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "c_program.h"
#include "fm_kernels.h"

#define N_ITERATIONS 7
/* Rows of one call of a tile kernel: a multiple of every table's tile_rows. */
#define BLOCK_ROWS 192

typedef struct {
    ptrdiff_t n, d, k;
    int weighted;
} shape;

/* 1 to 4 columns have kernels of their own; 5 and 17 leave a tail after groups of 4; 300 columns
 * and 131 centres exceed the depth and the chunk of centres by which assign is blocked. */
static const shape shapes[] = {
    {1000, 1, 5, 0},  {1000, 1, 5, 1},  {1003, 2, 8, 0},    {1003, 2, 8, 1},
    {777, 3, 16, 0},  {777, 3, 16, 1},  {500, 4, 7, 0},     {500, 4, 7, 1},
    {601, 5, 13, 0},  {601, 5, 13, 1},  {389, 17, 31, 0},   {389, 17, 31, 1},
    {257, 64, 97, 0}, {257, 64, 97, 1}, {211, 300, 131, 0}, {211, 300, 131, 1},
};

/* One fit: its data, and what the scan fixes for all iterations. */
typedef struct {
    const fm_isa *isa;
    const fm_tile_kernels *tile;
    ptrdiff_t n, d, k;
    fm_matrix x;
    const double *w;      /* NULL: 1 */
    const int32_t *drawn; /* labels drawn at random */
    fm_grid grid;
    void *offset;            /* that of the grid, in the dtype of the tiles */
    double residual_grid[2]; /* coarse, fine */
} problem;

static double get_real(const problem *p, const void *array, ptrdiff_t i)
{
    return p->x.type == FM_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static void set_real(const problem *p, void *array, ptrdiff_t i, double value)
{
    if (p->x.type == FM_F64)
        ((double *)array)[i] = value;
    else
        ((float *)array)[i] = (float)value;
}

static fm_block block_at(const problem *p, ptrdiff_t start)
{
    return (fm_block){NULL, start, p->n - start < BLOCK_ROWS ? p->n - start : BLOCK_ROWS};
}

/* k overlapping blobs away from the origin; weights are integers from 0 to 4. */
static void draw(problem *p, int weighted)
{
    uint64_t state = (uint64_t)(p->n + 1000 * p->d + 1000000 * p->k);
    double *blob = TAKE(p->k * p->d, double), *w = TAKE(p->n, double);
    int32_t *drawn = TAKE(p->n, int32_t);
    void *x = take(p->n * p->d, p->tile->itemsize);
    for (ptrdiff_t i = 0; i < p->k * p->d; i++)
        blob[i] = 100 + 6 * uniform(&state);
    for (ptrdiff_t i = 0; i < p->n; i++) {
        const ptrdiff_t j = (ptrdiff_t)(uniform(&state) * (double)p->k);
        for (ptrdiff_t t = 0; t < p->d; t++) {
            const double noise = uniform(&state) + uniform(&state) - 1;
            set_real(p, x, i * p->d + t, blob[j * p->d + t] + 3 * noise);
        }
        w[i] = floor(5 * uniform(&state));
        drawn[i] = (int32_t)(uniform(&state) * (double)p->k);
    }
    p->x.data = x;
    p->w = weighted ? w : NULL;
    p->drawn = drawn;
}

/* The grids, from the column extremes.  Residuals have one of their own: a row and a centre lie in
 * the same box, at most twice as far apart as its corners are from the pivot. */
static void choose_grids(problem *p, const void *low, const void *high, double *coarse,
                         double *fine)
{
    double *largest = TAKE(p->d, double), heaviest = 1, square = 0;
    for (ptrdiff_t t = 0; t < p->d; t++) {
        const double offset = p->grid.offset[t];
        largest[t] = fmax(get_real(p, high, t) - offset, offset - get_real(p, low, t));
        square += largest[t] * largest[t];
    }
    for (ptrdiff_t i = 0; p->w && i < p->n; i++)
        heaviest = fmax(heaviest, p->w[i]);
    fm_grid_units(largest, heaviest, p->n, p->d, coarse, fine);
    fm_grid_column(5 * square * heaviest, p->n, p->residual_grid, p->residual_grid + 1);
}

/* Column extremes by the table's kernel, the pivot in the middle of them, scale 1, and the grids
 * of the exact sums. */
static void scan(problem *p)
{
    const ptrdiff_t d = p->d, stride = FM_SUM_STRIDE(d), size = p->tile->itemsize;
    const ptrdiff_t lanes = p->tile->tile_rows;
    void *low = take(d * lanes, size), *high = take(d * lanes, size);
    void *tiles = take(BLOCK_ROWS * d, size);
    void *scratch = take(p->tile->tile_rows * d, size);
    double *offset = TAKE(d, double);
    double *coarse = TAKE(stride, double), *fine = TAKE(stride, double);

    p->offset = take(d, size);
    for (ptrdiff_t t = 0; t < d * lanes; t++) {
        set_real(p, low, t, (double)INFINITY);
        set_real(p, high, t, -(double)INFINITY);
    }
    for (ptrdiff_t start = 0; start < p->n; start += BLOCK_ROWS) {
        const fm_block block = block_at(p, start);
        p->tile->pack(&p->x, &block, p->offset, 1, tiles, (fm_memory){0}, scratch);
        p->tile->extremes(tiles, block.count, d, low, high);
    }
    /* Over the lanes, in place: column t's own lanes begin at or behind it. */
    for (ptrdiff_t t = 0; t < d; t++) {
        double least = get_real(p, low, t * lanes), most = get_real(p, high, t * lanes);
        for (ptrdiff_t lane = 1; lane < lanes; lane++) {
            /* Not fmin and fmax, on whose loop gcc 12 for aarch64 has an internal error. */
            if (get_real(p, low, t * lanes + lane) < least)
                least = get_real(p, low, t * lanes + lane);
            if (get_real(p, high, t * lanes + lane) > most)
                most = get_real(p, high, t * lanes + lane);
        }
        set_real(p, low, t, least);
        set_real(p, high, t, most);
    }
    for (ptrdiff_t t = 0; t < d; t++) {
        set_real(p, p->offset, t, (get_real(p, low, t) + get_real(p, high, t)) / 2);
        offset[t] = get_real(p, p->offset, t);
    }
    p->grid = (fm_grid){d, stride, 1, offset, coarse, fine};
    choose_grids(p, low, high, coarse, fine);
}

/* E-step (PRML 9.2); with runners-up and a hash of all distances where second is not NULL. */
static uint64_t assign(const problem *p, const double *c, int32_t *labels, int32_t *second)
{
    const ptrdiff_t d = p->d, k = p->k, size = p->tile->itemsize;
    const ptrdiff_t width = p->tile->panel_width, narrow = p->tile->distance_width;
    const ptrdiff_t padded = (k + width - 1) / width * width;
    void *panel = take(padded * d, size), *bias = take(padded, size);
    void *distance_panel = take((k + narrow - 1) / narrow * narrow * d, size);
    void *tiles = take(BLOCK_ROWS * d, size), *scratch = take(p->tile->tile_rows * d, size);
    void *best = take(p->tile->assign_scratch(BLOCK_ROWS, d), 1);
    char *distances = take(k * BLOCK_ROWS, size);
    uint64_t hash = HASH_START;

    p->tile->pack_centers(c, k, d, width, panel, bias);
    p->tile->pack_centers(c, k, d, narrow, distance_panel, NULL);
    for (ptrdiff_t start = 0; start < p->n; start += BLOCK_ROWS) {
        const fm_block block = block_at(p, start);
        p->tile->pack(&p->x, &block, p->offset, p->grid.scale, tiles, (fm_memory){0}, scratch);
        p->tile->assign(tiles, block.count, d, panel, bias, k, labels + start,
                        second ? second + start : NULL, (fm_memory){0}, best);
        if (!second)
            continue;
        p->tile->distances(tiles, block.count, d, distance_panel, k, distances, BLOCK_ROWS);
        for (ptrdiff_t j = 0; j < k; j++)
            hash = hash_bytes(hash, distances + j * BLOCK_ROWS * size, block.count * size);
    }
    return hash;
}

/* The same rows picked one by one, each against all centres: the labels must be those of assign;
 * the scores and |x|^2 are hashed. */
static uint64_t pick(const problem *p, const double *c, const int32_t *labels)
{
    const ptrdiff_t n = p->n, d = p->d, k = p->k, size = p->tile->itemsize, width = 8;
    const ptrdiff_t padded = (k + width - 1) / width * width, room = n + 64;
    void *panel = take(padded * d, size), *bias = take(padded, size);
    void *rows = take(n * d, size), *squares = take(n, size), *scratch = take(d, size);
    void *scores = take(room, size), *seconds = take(room, size);
    int32_t *found = TAKE(room, int32_t), *places = TAKE(n, int32_t);
    ptrdiff_t *all = TAKE(n, ptrdiff_t);
    for (ptrdiff_t i = 0; i < n; i++) {
        all[i] = i;
        places[i] = (int32_t)(n - 1 - i);
    }
    const fm_block block = {all, 0, n};
    p->tile->pack_centers(c, k, d, width, panel, bias);
    p->tile->gather(&p->x, &block, p->offset, p->grid.scale, places, rows, squares, scratch);
    p->tile->row_scores(rows, places, n, d, panel, bias, k, found, scores, seconds);
    if (memcmp(found, labels, (size_t)n * sizeof *labels)) {
        fprintf(stderr, "lloyd_main: %s: picked rows have other labels at %td x %td\n",
                p->isa->name, n, d);
        exit(1);
    }
    uint64_t hash = hash_bytes(HASH_START, (const char *)scores, n * size);
    hash = hash_bytes(hash, (const char *)seconds, n * size);
    return hash_bytes(hash, (const char *)squares, n * size);
}

/* Framed row i and centre j as the kernels see them: their distance. */
static double distance(const problem *p, const void *rows, const double *c, ptrdiff_t i,
                       ptrdiff_t j)
{
    double sum = 0;
    for (ptrdiff_t t = 0; t < p->d; t++) {
        const double center = p->x.type == FM_F64 ? c[j * p->d + t] : (float)c[j * p->d + t];
        const double gap = get_real(p, rows, i * p->d + t) - center;
        sum += gap * gap;
    }
    return sqrt(sum);
}

/* Lower bounds must be no greater than the distances from all centres but the label's, and upper
 * bounds, where there are any, no less than that. */
static void check_bounds(const problem *p, const fm_bounds *b, const void *rows, const double *c,
                         const float *upper, const char *what)
{
    for (ptrdiff_t i = 0; i < p->n; i++)
        for (ptrdiff_t j = 0; j < p->k; j++) {
            const double far = distance(p, rows, c, i, j) * (1 + 1e-9) + 1e-30;
            const double low = (double)b->codes[i * b->stride + b->group_of[j]] * b->step;
            if (j == b->labels[i] ? upper && far > upper[i] * (1 + 2e-9) + 2e-30 : low > far) {
                fprintf(stderr, "lloyd_main: %s: bounds of %s do not hold at %td x %td\n",
                        p->isa->name, what, p->n, p->d);
                exit(1);
            }
        }
}

/* Bounds that codes of rows and centres prove, where the table has their kernels: of rows less one of
 * two of them, or of rows as they are. */
static void code(const problem *p, fm_bounds *b, ptrdiff_t groups, const double *c, int referred)
{
    const fm_code_kernels *kernels = p->x.type == FM_F64 ? p->isa->codes_f64 : p->isa->codes_f32;
    const ptrdiff_t n = p->n, d = p->d, k = p->k, size = p->tile->itemsize, pairs = (d + 7) / 8;
    void *rows = take(n * d, size), *squares = take(n, size), *scratch = take(d, size);
    int32_t *position = TAKE(n, int32_t), *listed = TAKE(n, int32_t), *columns = TAKE(k, int32_t);
    float *near = TAKE(n, float);
    const ptrdiff_t n_references = referred ? 2 : 1, parts = n_references;
    const ptrdiff_t width = FM_REFERENCE_WIDTH(d);
    char *references = take(n_references * width, size);
    double *points = TAKE(n_references * width, double);
    float *reference_squares = TAKE(n_references, float), *apart = TAKE(groups * 16, float);
    int32_t *reference_of = TAKE(k, int32_t);
    const fm_row_codes codes = {.codes = TAKE(n * 8 * pairs, uint8_t),
                                .rows = TAKE(n, fm_coded_row),
                                .pairs = pairs,
                                .references = references,
                                .reference_of = reference_of,
                                .n_references = n_references,
                                .width = width,
                                .points = points,
                                .reference_squares = reference_squares,
                                .parts = parts,
                                .panels = TAKE(groups * pairs * parts * 16, int32_t),
                                .starts = TAKE(groups * parts * 16, int32_t),
                                .apart = apart,
                                .group_unit = TAKE(groups, float),
                                .group_square = TAKE(groups, float),
                                .group_rest = TAKE(groups, float),
                                .column_of = columns};
    for (ptrdiff_t i = 0; i < n; i++)
        position[i] = (int32_t)i;
    for (ptrdiff_t j = 0; j < k; j++)
        columns[j] = (int32_t)j, reference_of[j] = (int32_t)(j % n_references);
    for (ptrdiff_t j = 0; j < groups * 8 * n_references; j++)
        apart[j] = FM_FAR_APART;
    const fm_block block = {NULL, 0, n};
    p->tile->gather(&p->x, &block, p->offset, p->grid.scale, NULL, rows, squares, scratch);
    for (ptrdiff_t f = 0; referred && f < n_references; f++) {
        double square = 0;
        memcpy(references + f * width * size, (char *)rows + f * (n - 1) * d * size,
               (size_t)(d * size));
        for (ptrdiff_t t = 0; t < d; t++) {
            const double value = get_real(p, references, f * width + t);
            points[(t / 8 * n_references + f) * 8 + t % 8] = value;
            square += value * value;
        }
        reference_squares[f] = (float)square;
    }
    check_bounds(p, b, rows, c, b->upper, referred ? "codes from above" : "shortlists");
    memset(codes.codes, 1, (size_t)(n * 8 * pairs));
    kernels->code_rows(rows, n, d, b->labels, &codes, 0);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t t = d; t < 8 * pairs; t++)
            if (codes.codes[i * 8 * pairs + t] != 128) {
                fprintf(stderr, "lloyd_main: %s: codes beyond %td columns\n", p->isa->name, d);
                exit(1);
            }
    memset(b->codes, 0, (size_t)(n * b->stride) * sizeof *b->codes);
    for (ptrdiff_t i = 0; i < n; i++)
        near[i] = (float)distance(p, rows, c, i, b->labels[i]);
    const fm_open open = {.rows = position, .near = near};
    for (ptrdiff_t g = 0; g < groups; g++) {
        kernels->code_group(c + g * 8 * d, k - g * 8 < 8 ? k - g * 8 : 8, d, &codes, g, g);
        memcpy(listed, position, (size_t)n * sizeof *listed);
        kernels->codes_scan(b, &codes, g, g, 1, 0, &open, listed, n);
    }
    check_bounds(p, b, rows, c, NULL, "codes");
    for (ptrdiff_t g = 0; g < groups; g++) {
        ptrdiff_t count = 0;
        for (ptrdiff_t i = 0; i < n; i++)
            if (b->group_of[b->labels[i]] == g) {
                b->upper[i] = FM_UPPER_NONE;
                position[count++] = (int32_t)i;
            }
        kernels->codes_own(b, &codes, g, g, 1, 0, &open, 0, count);
    }
    check_bounds(p, b, rows, c, b->upper, "codes from above");
}

/* The same by shortlists, where this processor runs them, with labels that are right for some rows:
 * each label must be that of assign, but of rows that are left to it; and the bounds must hold.
 * First with any order of the centres, then from pivots and with bounds. */
static void list(const problem *p, const double *c, const int32_t *labels)
{
    enum {
        PIVOTS = 3
    };
    const ptrdiff_t n = p->n, d = p->d, k = p->k, size = p->tile->itemsize;
    const ptrdiff_t width = p->tile->panel_width, padded = (k + width - 1) / width * width;
    const fm_shortlist_kernels *kernels =
        p->x.type == FM_F64 ? p->isa->shortlist_f64 : p->isa->shortlist_f32;
    if (!kernels->assign || !fm_shortlists(p->isa))
        return;
    void *panel = take(padded * d, size), *bias = take(padded, size);
    void *rows = take(BLOCK_ROWS * d, size), *squares = take(BLOCK_ROWS, size);
    const ptrdiff_t groups = (k + 7) / 8, stride = (groups + 7) / 8 * 8;
    const ptrdiff_t vectors = (k + 15) / 16;
    int32_t *found = TAKE(n, int32_t), *hint = TAKE(n, int32_t);
    int32_t *group_of = TAKE(k, int32_t), *order = TAKE(16 * vectors, int32_t);
    ptrdiff_t *first = TAKE(groups + 1, ptrdiff_t);
    double *pivots = TAKE(PIVOTS * d, double);
    fm_bounds b = {.upper = TAKE(n, float),
                   .codes = TAKE(n * stride, int16_t),
                   .labels = (int32_t *)labels,
                   .stride = stride,
                   .step = 1e-3f,
                   .group_of = group_of,
                   .moved = TAKE(k, float),
                   .group_reach = TAKE(groups, float),
                   .group_moved = TAKE(stride, int16_t),
                   .proof = 1e-30f,
                   .root = 1e-15f};
    const fm_short_bounds to = {&b, groups, first};
    p->tile->pack_centers(c, k, d, width, panel, bias);
    memcpy(pivots + d, c, (size_t)d * sizeof *c);
    memcpy(pivots + 2 * d, c + k / 2 * d, (size_t)d * sizeof *c);
    for (ptrdiff_t i = 0; i < n; i++)
        hint[i] = i % 3 ? labels[i] : (int32_t)(i % (k + 1)) - 1, b.upper[i] = FM_UPPER_NONE;
    for (ptrdiff_t j = 0; j < k; j++)
        group_of[j] = (int32_t)(j / 8);
    for (ptrdiff_t at = 0; at < 16 * vectors; at++)
        order[at] = at < k ? (int32_t)at : -1;
    for (ptrdiff_t g = 0; g <= groups; g++)
        first[g] = 8 * g;
    for (int bounded = 0; bounded < 2; bounded++) {
        fm_shortlist shortlist = {
            .k = k, .d = d, .vectors = vectors, .pivots = bounded ? PIVOTS : 1};
        ptrdiff_t undecided, left = 0;
        kernels->pack_centers(c, bias, bounded ? order : NULL, pivots, &shortlist,
                              take(kernels->memory(&shortlist), 1));
        void *scratch = take(kernels->scratch(&shortlist, groups), 1);
        for (ptrdiff_t start = 0; start < n; start += BLOCK_ROWS, left += undecided) {
            const fm_block block = block_at(p, start);
            p->tile->gather(&p->x, &block, p->offset, p->grid.scale, NULL, rows, squares,
                            take(d, size));
            kernels->assign(rows, squares, block.count, &shortlist, panel, bias, hint + start,
                            found + start, bounded ? &to : NULL, start, scratch, &undecided);
        }
        for (ptrdiff_t i = 0; i < n; i++) {
            left -= found[i] < 0;
            if (found[i] < 0 || found[i] == labels[i])
                continue;
            left = -1;
            break;
        }
        if (left) {
            fprintf(stderr, "lloyd_main: %s: shortlists have other labels at %td x %td\n",
                    p->isa->name, n, d);
            exit(1);
        }
    }
    for (int referred = 0; referred < 2; referred++)
        code(p, &b, groups, c, referred);
}

/* labels = now, and sums += the rows whose label changed, under the new one, -= under the old one;
 * all rows where labels is NULL. */
static void fold(const problem *p, const int32_t *now, int32_t *labels, double *sums)
{
    ptrdiff_t *rows = TAKE(p->n, ptrdiff_t);
    int32_t *added = TAKE(p->n, int32_t), *removed = TAKE(p->n, int32_t);
    double *scratch = TAKE(FM_SUM_ROWS * p->grid.stride, double);
    const fm_exact_kernels *exact = &p->isa->exact;
    fm_block block = {NULL, 0, p->n};
    if (labels)
        block = (fm_block){rows, 0, exact->changes(now, &block, labels, rows, added, removed)};
    exact->accumulate(&p->x, &block, p->w, &p->grid, labels ? added : now, labels ? removed : NULL,
                      sums, scratch);
}

/* The values of X in the place of distances: a number of rows that fills no last vector. */
static uint64_t hash_potentials(const problem *p, uint64_t hash)
{
    const fm_found_kernels *found = p->x.type == FM_F64 ? &p->isa->found_f64 : &p->isa->found_f32;
    const ptrdiff_t count = p->n - 37;
    void *keep = take(count, p->tile->itemsize);
    double total =
        found->potential(p->x.data, p->x.data + 37 * p->tile->itemsize, p->w, count, keep);
    hash = hash_bytes(hash, keep, count * p->tile->itemsize);
    return HASH(hash, &total, 1);
}

/* A fit and its hash.  exact: labels are drawn and then partly changed, not computed, so that the
 * bits are those of the float64 unit alone. */
static uint64_t fit(problem *p, int exact)
{
    const ptrdiff_t n = p->n, d = p->d, k = p->k, n_sums = 2 * p->grid.stride * k;
    double *old = TAKE(k * d, double), *c = TAKE(k * d, double), *weights = TAKE(k, double);
    double *sums = TAKE(n_sums, double), *at_once = TAKE(n_sums, double);
    double *residuals = TAKE(n, double), *scratch = TAKE(d, double), report[3], total[2] = {0, 0};
    int32_t *labels = TAKE(n, int32_t), *now = TAKE(n, int32_t), *second = TAKE(n, int32_t);
    const fm_block all = {NULL, 0, n};
    uint64_t hash = HASH_START;

    for (ptrdiff_t j = 0; j < k; j++)
        for (ptrdiff_t t = 0; t < d; t++)
            c[j * d + t] = get_real(p, p->x.data, n / k * j * d + t) - p->grid.offset[t];
    fold(p, labels, NULL, sums); /* all rows under label 0 */
    for (int iteration = 0; iteration < N_ITERATIONS; iteration++) {
        memcpy(old, c, (size_t)(k * d) * sizeof *c);
        if (!exact)
            assign(p, c, now, NULL);
        else
            for (ptrdiff_t i = 0; i < n; i++)
                if (!iteration || i % 3 == 0)
                    now[i] = (int32_t)((p->drawn[i] + iteration) % k);
        fold(p, now, labels, sums);
        p->isa->exact.update_centers(sums, k, d, p->grid.stride, old, c, weights, report);
        hash = HASH(hash, labels, n);
        hash = HASH(hash, report, 3);
    }
    fold(p, labels, NULL, at_once);
    if (memcmp(sums, at_once, (size_t)n_sums * sizeof *sums)) {
        fprintf(stderr, "lloyd_main: %s: sums of changed rows differ from full ones at %td x %td\n",
                p->isa->name, n, d);
        exit(1);
    }
    if (!exact) {
        hash ^= assign(p, c, labels, second) ^ pick(p, c, labels);
        list(p, c, labels);
    }
    p->isa->exact.residuals(&p->x, &all, &p->grid, c, labels, residuals, scratch);
    p->isa->exact.add_exact(residuals, p->w, n, p->residual_grid[0], p->residual_grid[1], total);
    hash = HASH(hash, labels, n);
    hash = HASH(hash, second, n);
    hash = HASH(hash, c, k * d);
    hash = HASH(hash, weights, k);
    hash = HASH(hash, residuals, n);
    return hash_potentials(p, HASH(hash, total, 2));
}

static void print_hashes(const fm_isa *isa)
{
    uint64_t all = HASH_START, exact = HASH_START;
    for (int type = FM_F64; type <= FM_F32; type++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
            const ptrdiff_t n = shapes[i].n, d = shapes[i].d, k = shapes[i].k;
            const fm_tile_kernels *tile = type == FM_F64 ? isa->f64 : isa->f32;
            problem p = {.isa = isa, .tile = tile, .n = n, .d = d, .k = k};
            p.x = (fm_matrix){NULL, n, d, d * tile->itemsize, tile->itemsize, type, 0};
            draw(&p, shapes[i].weighted);
            scan(&p);
            const uint64_t one = fit(&p, 0), given = fit(&p, 1);
            release_all();
            all = HASH(all, &one, 1);
            exact = HASH(exact, &given, 1);
            printf("%s %s n=%td d=%td k=%td %s %016" PRIx64 "\n", isa->name,
                   type == FM_F64 ? "f64" : "f32", n, d, k,
                   shapes[i].weighted ? "weighted" : "plain", one);
        }
    printf("%s exact %016" PRIx64 "\n%s all %016" PRIx64 "\n", isa->name, exact, isa->name, all);
}

int main(int argc, char **argv)
{
    return for_each_isa("lloyd_main", argc, argv, print_hashes);
}
