#ifndef CORE_HANDOVER_PARTS_H
#define CORE_HANDOVER_PARTS_H

/* Parts of what core hands over that several files have, each passed either way (io/handover.h). */

#include <stddef.h>
#include <stdint.h>

struct handover;
struct hang;
struct health;
struct intensity;
struct loop_timer;
struct recycle;
struct restart_slot;

/* One that is due by now fires in the first turn of the loop. */
void handover_timer(struct handover *h, const char *name, struct loop_timer *timer);

/* Counts of a fixed row of things. Read only where there are as many as the former program had: else the row
 * is another by now, and they begin anew. */
void handover_counts(struct handover *h, const char *name, int64_t *counts, size_t count);

/* What is read goes into a fresh window. */
void handover_intensity(struct handover *h, const char *name, struct intensity *window);

void handover_slot(struct handover *h, const char *name, struct restart_slot *slot);
void handover_health(struct handover *h, const char *name, struct health *health);
void handover_hang(struct handover *h, const char *name, struct hang *hang);
void handover_recycle(struct handover *h, const char *name, struct recycle *recycle);

#endif
