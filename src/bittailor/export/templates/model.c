/* @{prefix}: made by bittailor @{version}; see @{prefix}.h.
 *
 * Every line below is one operator of the network, named after its result; every value is an integer q that stands for
 * scale * (q - zero-point). Multipliers, constants, shifts and limits were fixed, and overflow ruled out, when the network
 * was bound.
 *
 *    no  site                         values              scale      zero-point
@{sites}
 */
#include "@{prefix}.h"

#include <string.h>

#include "bt_dot.h"
#include "bt_ops.h"
@{headers}
#define FEATURES @{PREFIX}_FEATURES
#define OUTPUTS @{PREFIX}_OUTPUTS

/* With -DBT_TRACE=f, f is told every value of every site: its number above, the feature, the integer. */
#ifdef BT_TRACE
#ifdef __cplusplus
extern "C"
#endif
void BT_TRACE(unsigned site, unsigned feature, int32_t value);
#define TRACE(site, feature, value) BT_TRACE(site, (unsigned)(feature), value)
#define TRACE_ALL(site, vector, n)      \
    do {                                \
        for (size_t k = 0; k < (n); k++) \
            TRACE(site, k, (vector)[k]); \
    } while (0)
#else
#define TRACE(site, feature, value) ((void)0)
#define TRACE_ALL(site, vector, n) ((void)0)
#endif

/* The sizes that were promised. */
typedef char @{prefix}_state_fits[sizeof(@{prefix}_state) <= @{PREFIX}_STATE_BYTES ? 1 : -1];
typedef char @{prefix}_scratch_fits[sizeof(@{prefix}_scratch) <= @{PREFIX}_SCRATCH_BYTES ? 1 : -1];

@{rom}void @{prefix}_reset(@{prefix}_state *state) {
@{reset}}

@{body}
void @{prefix}_quantise(const int16_t fixed[FEATURES], @{prefix}_in x[FEATURES]) {
    for (size_t i = 0; i < FEATURES; i++)
        x[i] = (@{prefix}_in)@{quantise};
}

void @{prefix}_read(const @{prefix}_out y[OUTPUTS], int16_t fixed[OUTPUTS]) {
    for (size_t i = 0; i < OUTPUTS; i++)
        fixed[i] = (int16_t)@{read};
}
