#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Monotonic milliseconds: for every wait and measure. Never 0. */
int64_t clock_now_ms(void);

/* Monotonic microseconds. */
int64_t clock_now_us(void);

/* Milliseconds since 1970, UTC: only for what people or other machines read. */
int64_t clock_wall_ms(void);

/* 32 random bits for jitter; not for secrets. */
uint32_t clock_random(void);

#endif
