/* @{prefix}: @{about}
 *
 * Made by bittailor @{version}. Integers only, no heap, no library; the caller owns all memory.
 *
 *     input    [@{features}] integers @{x_low}..@{x_high} (@{x_bits} bit): real value = @{x_real}
 *     output   [@{outputs}] integers @{y_low}..@{y_high} (@{y_bits} bit): real value = @{y_real}
 *     memory   @{flash} bytes of constants in flash, @{state_bytes} bytes of state, @{scratch_bytes} bytes of scratch
 */
#ifndef @{PREFIX}_H
#define @{PREFIX}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define @{PREFIX}_FEATURES @{features}
#define @{PREFIX}_OUTPUTS @{outputs}
#define @{PREFIX}_FLASH_BYTES @{flash}
#define @{PREFIX}_STATE_BYTES @{state_bytes}
#define @{PREFIX}_SCRATCH_BYTES @{scratch_bytes}
@{limits}
/* Binary places of the fixed-point numbers below: an int16_t f stands for f / 2^places. */
#define @{PREFIX}_INPUT_PLACES @{in_places}
#define @{PREFIX}_OUTPUT_PLACES @{out_places}

typedef @{in_type} @{prefix}_in;
typedef @{out_type} @{prefix}_out;

/* What lives from frame to frame. One for every stream. */
typedef struct @{prefix}_state {
@{state}} @{prefix}_state;

/* Working memory of a call; its content may be lost between calls, and all streams may share one. */
typedef struct @{prefix}_scratch {
@{scratch}} @{prefix}_scratch;

/* The state before the first frame. */
void @{prefix}_reset(@{prefix}_state *state);

@{step}
/* A whole sequence, from a fresh state. x: [steps][@{features}].
 * @{run} */
int @{prefix}_run(@{prefix}_state *state, @{prefix}_scratch *scratch, const @{prefix}_in *x, size_t steps,
    @{prefix}_out *y);

/* Fixed point -> input: x = clamp(floor(f / 2^places / scale + 1/2) + zero-point), by one integer rescaling. */
void @{prefix}_quantise(const int16_t fixed[@{PREFIX}_FEATURES], @{prefix}_in x[@{PREFIX}_FEATURES]);

/* Output -> fixed point. */
void @{prefix}_read(const @{prefix}_out y[@{PREFIX}_OUTPUTS], int16_t fixed[@{PREFIX}_OUTPUTS]);

#ifdef __cplusplus
}
#endif

#endif
