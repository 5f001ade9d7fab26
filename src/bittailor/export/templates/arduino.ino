// @{prefix}: @{sentence}. Reads frames of fixed-point numbers from the serial line, as text, and prints the outputs.
#include <Arduino.h>
#include <@{prefix}.hpp>

static @{prefix}::Network network;
static int16_t frame[@{prefix}::Network::features];
static size_t got = 0;

void setup() { Serial.begin(115200); }

void loop() {
    if (Serial.available() == 0)
        return;
    frame[got++] = (int16_t)Serial.parseInt();
    if (got < @{prefix}::Network::features)
        return;
    got = 0;
    @{prefix}::Network::in x[@{prefix}::Network::features];
    @{prefix}::Network::out y[@{outputs}];
    @{prefix}::Network::quantise(frame, x);
    @{call}
    for (size_t i = 0; i < @{prefix}::Network::outputs; i++) {
        Serial.print((int)y[i]);
        Serial.print(i + 1 < @{prefix}::Network::outputs ? ' ' : '\n');
    }
}
