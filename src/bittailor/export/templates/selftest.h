/* Self-test of @{prefix}: the golden vectors of @{prefix}_golden.h against what this build computes. */
#ifndef @{PREFIX}_SELFTEST_H
#define @{PREFIX}_SELFTEST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What was found. what is NULL if all is well; otherwise the first difference. */
typedef struct @{prefix}_report {
    const char *what;          /* one line for people */
    const char *site;          /* the site, or "" */
    unsigned long item, step, feature;
    long got, expected;
    unsigned long outputs;     /* output values that were compared */
    unsigned long values;      /* values of sites that were compared; 0 without -DBT_TRACE=@{prefix}_trace */
} @{prefix}_report;

/* 0 if every integer is the expected one, -1 if not; report may be NULL. Needs no stdio. */
int @{prefix}_selftest(@{prefix}_report *report);

/* What @{prefix}.c calls when it is compiled with -DBT_TRACE=@{prefix}_trace. */
void @{prefix}_trace(unsigned site, unsigned feature, int32_t value);

#ifdef __cplusplus
}
#endif

#endif
