/* One frame: x has @{features} values, y has @{count}. y may be NULL, then only the state moves on.
 * @{outputs} */
void @{prefix}_step(@{prefix}_state *state, @{prefix}_scratch *scratch, const @{prefix}_in x[@{PREFIX}_FEATURES],
    @{prefix}_out *y);
