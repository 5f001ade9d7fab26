int @{prefix}_run(@{prefix}_state *state, @{prefix}_scratch *scratch, const @{prefix}_in *x, size_t steps,
    @{prefix}_out *y) {
    if (@{limit})
        return -1;
    @{prefix}_reset(state);
    for (size_t t = 0; t < steps; t++)
        @{prefix}_step(state, scratch, x + t * FEATURES, @{y});
    return 0;
}
