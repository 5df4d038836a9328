#ifndef BASE_MAP_H
#define BASE_MAP_H

/* Hash map from a byte string to a pointer. Keys are copied, values are borrowed.
 * A map may not be changed inside map_foreach's body, except through map_next's own rules below. */

#include <stddef.h>
#include <stdint.h>

struct map;

void map_new(struct map **ret);
void map_free(struct map **map);

size_t map_len(const struct map *map);

/* NULL when absent. */
void *map_get(const struct map *map, const void *key, size_t key_len);

/* Sets or replaces; returns the value that was there, or NULL. `value` is not NULL. */
void *map_set(struct map *map, const void *key, size_t key_len, void *value);

/* Removes; returns the value that was there, or NULL. */
void *map_remove(struct map *map, const void *key, size_t key_len);

/* Walks the values in no order: start with *cursor = 0; NULL at the end. Removing the value just returned
 * is allowed, setting is not. */
void *map_next(const struct map *map, size_t *cursor);

static inline void *map_get_id(const struct map *map, int64_t id)
{
	return map_get(map, &id, sizeof(id));
}

static inline void *map_set_id(struct map *map, int64_t id, void *value)
{
	return map_set(map, &id, sizeof(id), value);
}

static inline void *map_remove_id(struct map *map, int64_t id)
{
	return map_remove(map, &id, sizeof(id));
}

#endif
