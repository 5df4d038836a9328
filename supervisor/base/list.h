#ifndef BASE_LIST_H
#define BASE_LIST_H

/* Intrusive doubly linked list with a head node.
 * A node is in at most one list; an unlinked node points at itself after list_init(). */

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *prev, *next;
};

#define LIST_INIT(name)                                                                                      \
	{                                                                                                    \
		&(name), &(name)                                                                             \
	}

/* The struct around `ptr`, which points at its `member`. */
#define list_entry(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define list_foreach(pos, head) for (struct list *pos = (head)->next; pos != (head); pos = pos->next)

/* The body may unlink or free `pos`, not its neighbour. */
#define list_foreach_safe(pos, head)                                                                         \
	for (struct list *pos = (head)->next, *pos##_next = pos->next; pos != (head);                        \
	     pos = pos##_next, pos##_next = pos->next)

static inline void list_init(struct list *node)
{
	node->prev = node->next = node;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_insert(struct list *prev, struct list *next, struct list *node)
{
	node->prev = prev;
	node->next = next;
	prev->next = node;
	next->prev = node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
	list_insert(head->prev, head, node);
}

static inline void list_push_front(struct list *head, struct list *node)
{
	list_insert(head, head->next, node);
}

/* Unlinks; safe on an unlinked node. */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* First node, unlinked; NULL when empty. */
static inline struct list *list_pop_front(struct list *head)
{
	struct list *node = head->next;

	if (node == head)
		return NULL;
	list_remove(node);
	return node;
}

#endif
