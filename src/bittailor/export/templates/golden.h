/* Golden vectors of @{prefix}: inputs, and what the reference engine makes of them. @{words} */

#define @{PREFIX}_GOLDEN_ITEMS @{items}u
#define @{PREFIX}_GOLDEN_SITES @{sites}u
#define @{PREFIX}_GOLDEN_TRACED @{traced}u /* steps of the first item whose sites follow */
#define @{PREFIX}_GOLDEN_CRC UINT32_C(@{crc})

/* rows of `features` values from `first` on, one per step or in all; backwards: the last step is computed first */
typedef struct @{prefix}_golden_site {
    const char *name;
    uint32_t first;
    uint16_t features, rows, backwards;
} @{prefix}_golden_site;

static const uint32_t @{prefix}_golden_steps[] = {@{steps}};

static const @{prefix}_in @{prefix}_golden_x[] = {
@{x}};

static const @{prefix}_out @{prefix}_golden_y[] = {
@{y}};

static const @{prefix}_golden_site @{prefix}_golden_sites[] = {
@{table}};

static const int16_t @{prefix}_golden_values[] = {
@{values}};

#define @{PREFIX}_GOLDEN_END 0x6274
