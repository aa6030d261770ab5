/* SPDX-License-Identifier: BSD-3-Clause */
/* M-step (PRML 9.4): mu_j = S_j / W_j from the exact sums S_j = sum w y, W_j = sum w,
 * Q_j = sum w |y|^2 of every cluster, and the objective (PRML 9.1) before and after it:
 *
 *     J = sum_j Q_j - 2 c_j . S_j + W_j |c_j|^2,    J* = sum_j Q_j - |S_j|^2 / W_j.
 *
 * A cluster of weight zero keeps its centre.  report: J, J*, sum_j |mu_j - c_j|^2.  Sums over columns
 * are eight, of every eighth, and then of these: one order for every table.
 */
typedef double eight __attribute__((vector_size(64), aligned(8), may_alias));

FM_INLINE double sum_of_eight(eight v)
{
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

/* Up to eight numbers, and zeros. */
FM_INLINE eight some_of_eight(const double *from, ptrdiff_t count)
{
    double some[8] = {0};
    if (count >= 8)
        return *(const eight *)from;
    memcpy(some, from, (size_t)count * sizeof(double));
    return *(const eight *)some;
}

static void update_centers(const double *sums, ptrdiff_t k, ptrdiff_t d, ptrdiff_t stride,
                           const double *old, double *centers, double *weights, double report[3])
{
    double before = 0, after = 0, shift = 0;
    for (ptrdiff_t j = 0; j < k; j++, sums += 2 * stride, old += d, centers += d) {
        const double weight = sums[d] + sums[stride + d];
        const double square = sums[d + 1] + sums[stride + d + 1];
        eight cross = {0}, norm = {0}, moved = {0}, squares = {0};
        for (ptrdiff_t t = 0; t < d; t += 8) {
            const ptrdiff_t left = d - t;
            const eight c = some_of_eight(old + t, left);
            const eight sum =
                some_of_eight(sums + t, left) + some_of_eight(sums + stride + t, left);
            const eight mean = sum / weight, center = weight > 0 ? mean : c, gap = center - c;
            cross += c * sum;
            norm += c * c;
            squares += sum * sum;
            moved += gap * gap;
            memcpy(centers + t, &center, (size_t)(left < 8 ? left : 8) * sizeof(double));
        }
        weights[j] = weight;
        before += square - 2 * sum_of_eight(cross) + weight * sum_of_eight(norm);
        after += weight > 0 ? square - sum_of_eight(squares) / weight : 0;
        shift += sum_of_eight(moved);
    }
    report[0] = before;
    report[1] = after;
    report[2] = shift;
}
