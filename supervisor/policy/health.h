#ifndef POLICY_HEALTH_H
#define POLICY_HEALTH_H

/* Pings of one worker: when to send, when a missing pong is a miss, when misses make a suspect.
 * Plain value; the caller sends the pings and reads the pongs. */

#include <stdbool.h>
#include <stdint.h>

struct health_params {
	int64_t interval_ms; /* between pings, from ping to ping */
	int64_t timeout_ms;  /* ping to pong */
	int misses;	     /* in a row, >= 1: suspect */
};

struct health {
	uint64_t seq;	     /* of the last ping; 0 = none sent */
	uint64_t answered;   /* of the last pong; 0 = none came */
	int64_t pong_ms;     /* when it came; 0 = never */
	int64_t next_ms;     /* when the next ping is due */
	int64_t deadline_ms; /* of the pong that is awaited; 0 = none is */
	int misses;
	bool extended; /* the deadline, for our own lateness */
	bool suspect;  /* told once; cleared by the pong */
};

enum health_do { HEALTH_NOTHING, HEALTH_PING, HEALTH_SUSPECT };

/* Starts anew: the first ping is due one interval after now. */
void health_init(struct health *h, const struct health_params *params, int64_t now_ms);

/* Forgets misses and suspicion, and awaits no pong. Pongs of the pings sent so far may still come. */
void health_forgive(struct health *h, const struct health_params *params, int64_t now_ms);

/* What to do now. HEALTH_PING: send health_seq(). HEALTH_SUSPECT is told once per row of misses.
 * late_ms: by how much this very tick is late. A machine that keeps us waiting keeps the worker waiting, so
 * an awaited pong gets as long again, once. *ret_next_ms: when to tick again at the latest. */
enum health_do health_tick(struct health *h, const struct health_params *params, int64_t now_ms,
			   int64_t late_ms, int64_t *ret_next_ms);

/* A pong; false (and nothing changed) unless it answers a ping not answered yet. A late pong clears the
 * misses too: the worker lives. */
bool health_pong(struct health *h, uint64_t seq, int64_t now_ms);

/* The next tick may find a miss: look first whether the pong lies unread. */
bool health_is_overdue(const struct health *h, int64_t now_ms);

uint64_t health_seq(const struct health *h);

/* More than half of a pool of two or more is suspect at once: the machine is sick, not the workers. */
bool health_hold_kills(int suspects, int pool_size);

#endif
