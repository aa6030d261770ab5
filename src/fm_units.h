/* SPDX-License-Identifier: BSD-3-Clause */
/* What a compilation unit of one ISA exports.  FM_ISA, the ISA's name, comes from the build. */
#ifndef FM_UNITS_H
#define FM_UNITS_H

#define FM_JOIN_(a, b) a##_##b
#define FM_JOIN(a, b) FM_JOIN_(a, b)
#define FM_TABLE(name) FM_JOIN(name, FM_ISA)
#define FM_STRING_(a) #a
#define FM_STRING(a) FM_STRING_(a)

#define FM_TILE_TABLE                                                                              \
    {.itemsize = sizeof(real),                                                                     \
     .tile_rows = FM_TILE_ROWS,                                                                    \
     .panel_width = FM_PANEL_WIDTH,                                                                \
     .distance_width = FM_DISTANCE_WIDTH,                                                          \
     .nearest_width = FM_NEAREST_WIDTH,                                                            \
     .pack = FM_NAME(pack),                                                                        \
     .pack_centers = FM_NAME(pack_centers),                                                        \
     .pack_center = FM_NAME(pack_center),                                                          \
     .nearest = FM_NAME(nearest),                                                                  \
     .assign_scratch = FM_NAME(assign_scratch),                                                    \
     .assign = FM_NAME(assign),                                                                    \
     .assign_leads = FM_NAME(assign_leads),                                                        \
     .gather = FM_NAME(gather),                                                                    \
     .row_scores = FM_NAME(row_scores),                                                            \
     .project = FM_NAME(project),                                                                  \
     .distances = FM_NAME(distances),                                                              \
     .extremes = FM_NAME(extremes),                                                                \
     .multiply_add_flops = FM_NAME(multiply_add_flops)}

#define FM_SHORTLIST_TABLE                                                                         \
    {.scratch = FM_NAME(shortlist_scratch),                                                        \
     .memory = FM_NAME(shortlist_memory),                                                          \
     .pack_centers = FM_NAME(shortlist_centers),                                                   \
     .assign = FM_NAME(shortlist_assign)}

#define FM_CODE_TABLE                                                                              \
    {.code_rows = FM_NAME(code_rows),                                                              \
     .code_group = FM_NAME(code_group),                                                            \
     .codes_scan = FM_NAME(codes_scan),                                                            \
     .codes_own = FM_NAME(codes_own)}

#define FM_MARGIN_TABLE                                                                            \
    {.move = FM_NAME(margin_centers),                                                              \
     .open = margins_open,                                                                         \
     .choose = FM_NAME(margins_choose),                                                            \
     .meet = FM_NAME(margins_meet),                                                                \
     .scan = FM_NAME(margins_scan),                                                                \
     .settle = margins_settle}

#define FM_MIXTURE_TABLE                                                                           \
    {.diagonal_width = FM_DIAGONAL_WIDTH,                                                          \
     .pack_factor = FM_NAME(pack_factor),                                                          \
     .mahalanobis = FM_NAME(mahalanobis),                                                          \
     .whiten = FM_NAME(whiten),                                                                    \
     .pack_diagonal = FM_NAME(pack_diagonal),                                                      \
     .diagonal = FM_NAME(diagonal),                                                                \
     .spherical = FM_NAME(spherical),                                                              \
     .pack_constants = FM_NAME(pack_constants),                                                    \
     .softmax = FM_NAME(softmax),                                                                  \
     .bounds_expect = FM_NAME(bounds_expect),                                                      \
     .bounds_take = FM_NAME(bounds_take),                                                          \
     .weigh_pairs = FM_NAME(weigh_pairs),                                                          \
     .select_rows = FM_NAME(select_rows),                                                          \
     .widen = FM_NAME(widen),                                                                      \
     .exp_all = FM_NAME(exp_all),                                                                  \
     .log_all = FM_NAME(log_all)}

#endif
