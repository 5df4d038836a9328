#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

/* Open addressing with linear probing. A removed slot leaves a tombstone, so that a walk may remove. */

struct slot {
	char *key; /* NULL: never used, or a tombstone when `hash` is 1 */
	size_t key_len;
	uint64_t hash; /* of the key; 0 = never used, 1 = tombstone */
	void *value;
};

struct map {
	struct slot *slots;
	size_t room;   /* a power of two */
	size_t used;   /* live */
	size_t dead;   /* tombstones */
	uint64_t seed; /* keys come from outside: a flood must not aim at one slot */
};

enum { FIRST_ROOM = 16 };

void map_new(struct map **ret)
{
	struct map *map = mem_alloc(sizeof(*map));

	if (getrandom(&map->seed, sizeof(map->seed), GRND_NONBLOCK) != sizeof(map->seed))
		map->seed = (uint64_t)(uintptr_t)map;
	map->room = FIRST_ROOM;
	map->slots = mem_array(map->room, sizeof(*map->slots));
	*ret = map;
}

void map_free(struct map **map)
{
	if (!*map)
		return;
	for (size_t i = 0; i < (*map)->room; i++)
		free((*map)->slots[i].key);
	free((*map)->slots);
	mem_free(map);
}

size_t map_len(const struct map *map)
{
	return map->used;
}

static uint64_t hash_of(const struct map *map, const void *key, size_t key_len)
{
	const unsigned char *bytes = key;
	uint64_t h = 14695981039346656037ULL ^ map->seed;

	for (size_t i = 0; i < key_len; i++)
		h = (h ^ bytes[i]) * 1099511628211ULL;
	h ^= h >> 32;
	return h < 2 ? h + 2 : h;
}

static struct slot *find(const struct map *map, const void *key, size_t key_len, uint64_t hash)
{
	for (size_t i = hash & (map->room - 1);; i = (i + 1) & (map->room - 1)) {
		struct slot *slot = &map->slots[i];

		if (slot->hash == 0)
			return NULL;
		if (slot->hash == hash && slot->key_len == key_len && memcmp(slot->key, key, key_len) == 0)
			return slot;
	}
}

static void place(struct map *map, struct slot fresh)
{
	size_t i = fresh.hash & (map->room - 1);

	while (map->slots[i].hash > 1)
		i = (i + 1) & (map->room - 1);
	if (map->slots[i].hash == 1)
		map->dead--;
	map->slots[i] = fresh;
	map->used++;
}

static void grow(struct map *map)
{
	struct slot *old = map->slots;
	size_t old_room = map->room;

	if (map->used * 2 >= map->room)
		map->room *= 2;
	map->slots = mem_array(map->room, sizeof(*map->slots));
	map->used = map->dead = 0;
	for (size_t i = 0; i < old_room; i++)
		if (old[i].hash > 1)
			place(map, old[i]);
	free(old);
}

void *map_get(const struct map *map, const void *key, size_t key_len)
{
	struct slot *slot = find(map, key, key_len, hash_of(map, key, key_len));

	return slot ? slot->value : NULL;
}

void *map_set(struct map *map, const void *key, size_t key_len, void *value)
{
	uint64_t hash = hash_of(map, key, key_len);
	struct slot *slot = find(map, key, key_len, hash);
	struct slot fresh = { .key_len = key_len, .hash = hash, .value = value };

	assert(value);
	if (slot) {
		void *was = slot->value;

		slot->value = value;
		return was;
	}
	if ((map->used + map->dead + 1) * 4 > map->room * 3)
		grow(map);
	fresh.key = mem_array(1, key_len);
	if (key_len)
		memcpy(fresh.key, key, key_len);
	place(map, fresh);
	return NULL;
}

void *map_remove(struct map *map, const void *key, size_t key_len)
{
	struct slot *slot = find(map, key, key_len, hash_of(map, key, key_len));
	void *was;

	if (!slot)
		return NULL;
	was = slot->value;
	free(slot->key);
	*slot = (struct slot){ .hash = 1 };
	map->used--;
	map->dead++;
	return was;
}

void *map_next(const struct map *map, size_t *cursor)
{
	while (*cursor < map->room) {
		struct slot *slot = &map->slots[(*cursor)++];

		if (slot->hash > 1)
			return slot->value;
	}
	return NULL;
}
