/* @{prefix}.h as a class of C++11: one object for every stream, state and scratch memory inside, nothing on the heap. */
#ifndef @{PREFIX}_HPP
#define @{PREFIX}_HPP

#include "@{prefix}.h"

namespace @{prefix} {

class Network {
public:
    static constexpr size_t features = @{PREFIX}_FEATURES;
    static constexpr size_t outputs = @{PREFIX}_OUTPUTS;
    using in = @{prefix}_in;
    using out = @{prefix}_out;

    Network() { reset(); }

    /* The state before the first frame. */
    void reset() { @{prefix}_reset(&state_); }
@{step}
    /* A whole sequence, from a fresh state; false for lengths it cannot take. */
    bool run(const in *x, size_t steps, out *y) { return @{prefix}_run(&state_, &scratch_, x, steps, y) == 0; }

    /* Fixed point to input integers, output integers to fixed point: see @{prefix}.h. */
    static void quantise(const int16_t (&fixed)[features], in (&x)[features]) { @{prefix}_quantise(fixed, x); }
    static void read(const out (&y)[outputs], int16_t (&fixed)[outputs]) { @{prefix}_read(y, fixed); }

private:
    @{prefix}_state state_;
    @{prefix}_scratch scratch_;
};

} // namespace @{prefix}

#endif
