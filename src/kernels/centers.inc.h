/* SPDX-License-Identifier: BSD-3-Clause */
/* M-step (PRML 9.4): mu_j = S_j / W_j from the exact sums S_j = sum w y, W_j = sum w,
 * Q_j = sum w |y|^2 of every cluster, and the objective (PRML 9.1) before and after it:
 *
 *     J = sum_j Q_j - 2 c_j . S_j + W_j |c_j|^2,    J* = sum_j Q_j - |S_j|^2 / W_j.
 *
 * A cluster of weight zero keeps its centre.  report: J, J*, sum_j |mu_j - c_j|^2.
 */
static void update_centers(const double *sums, ptrdiff_t k, ptrdiff_t d, ptrdiff_t stride,
                           const double *old, double *centers, double *weights, double report[3])
{
    double before = 0, after = 0, shift = 0;
    for (ptrdiff_t j = 0; j < k; j++, sums += 2 * stride, old += d, centers += d) {
        const double weight = sums[d] + sums[stride + d];
        const double square = sums[d + 1] + sums[stride + d + 1];
        double cross = 0, norm = 0, moved = 0, square_sum = 0;
        for (ptrdiff_t t = 0; t < d; t++) {
            const double sum = sums[t] + sums[stride + t];
            const double center = weight > 0 ? sum / weight : old[t];
            const double gap = center - old[t];
            cross += old[t] * sum;
            norm += old[t] * old[t];
            square_sum += sum * sum;
            moved += gap * gap;
            centers[t] = center;
        }
        weights[j] = weight;
        before += square - 2 * cross + weight * norm;
        after += weight > 0 ? square - square_sum / weight : 0;
        shift += moved;
    }
    report[0] = before;
    report[1] = after;
    report[2] = shift;
}
