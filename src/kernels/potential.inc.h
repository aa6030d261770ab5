/* SPDX-License-Identifier: BSD-3-Clause */
/* Potential of a seeding candidate over the rows of one slot (Arthur and Vassilvitskii 2007):
 *
 *     sum_i w_i min(closest_i, distance_i)
 *
 * in float64, over 16 virtual lanes, i modulo 16, added up in one fixed order: the bits depend on
 * the slot alone.  Where closest is to be kept, keep is closest and takes the minima.
 */
#define FM_POTENTIAL(suffix, real)                                                                 \
    static double potential_##suffix(const void *distances, const void *closests,                  \
                                     const double *w, ptrdiff_t count, void *keeps)                \
    {                                                                                              \
        const real *distance = distances, *closest = closests;                                     \
        real *keep = keeps;                                                                        \
        double lane[16] = {0};                                                                     \
        ptrdiff_t i = 0;                                                                           \
        for (; i < count; i += 16) {                                                               \
            const ptrdiff_t rows = count - i < 16 ? count - i : 16;                                \
            real least[16] = {0};                                                                  \
            for (ptrdiff_t r = 0; r < rows; r++)                                                   \
                least[r] = distance[i + r] < closest[i + r] ? distance[i + r] : closest[i + r];    \
            if (keep)                                                                              \
                for (ptrdiff_t r = 0; r < rows; r++)                                               \
                    keep[i + r] = least[r];                                                        \
            if (w)                                                                                 \
                for (ptrdiff_t r = 0; r < rows; r++)                                               \
                    lane[r] += w[i + r] * (double)least[r];                                        \
            else                                                                                   \
                for (ptrdiff_t r = 0; r < 16; r++)                                                 \
                    lane[r] += (double)least[r];                                                   \
        }                                                                                          \
        for (ptrdiff_t half = 8; half; half /= 2)                                                  \
            for (ptrdiff_t r = 0; r < half; r++)                                                   \
                lane[r] += lane[r + half];                                                         \
        return lane[0];                                                                            \
    }

FM_POTENTIAL(f32, float)
FM_POTENTIAL(f64, double)
#undef FM_POTENTIAL
