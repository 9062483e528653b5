/*
 * Tables of counters in memory that the agent has mapped: neither the program
 * nor the agent calls the kernel for it. Each is the only value of an array map,
 * and has a part for each processor, which no other writes to. The program does
 * not interrupt itself, so a part needs no atomic operation.
 */
#ifndef PG_NETSTAT_TABLE_H
#define PG_NETSTAT_TABLE_H

#include "control.h"

/* The agent says at load how large a table is, so the compiler may not know. */
#define TABLE(name) char name[8] __hidden SEC(".data." #name)

/*
 * The verifier has each addition of a variable to a pointer checked again as the
 * program runs, so there is one, of a sum that the compiler may not take apart.
 */
static __always_inline void *
plus(void *table, __u64 at)
{
	COMPUTED(table);
	COMPUTED(at);
	return (char *)table + at;
}

/*
 * The halves of a table are equally large: then the verifier lets the same
 * instructions use either.
 */
static __always_inline char *
half_of(char *even, char *odd_half, __u32 odd)
{
	COMPUTED(odd); /* not to be told apart before here */
	return odd ? odd_half : even;
}

/*
 * A part of a table of clients: this head, the entries, and the places of the
 * entries in use, which spare the agent looking at the others. An entry is the
 * words of its key and its counters.
 */
struct head {
	__u32 used;
	__u32 unused[7];
	struct counters other;  /* clients that found no room */
};

#define ENTRY_WORDS(key_words) ((key_words) + sizeof(struct counters) / sizeof(__u64))

/* The tables of one family; the agent sets it. */
struct extent {
	__u32 part;     /* bytes */
	__u32 homes;    /* entries that may be a home: SEARCH - 1 more follow */
	__u32 room;     /* entries that may be used */
	__u32 places;   /* offset in a part */
};

/*
 * A client is within so many entries from its home on. Loops over them must be
 * unrolled: the verifier also follows what the processor might do beyond the
 * last turn of a loop, and does not come to an end.
 */
#define SEARCH 21
#define UNROLLED _Pragma("clang loop unroll(full)")

/* Clients choose their addresses, so what decides about their homes is secret. */
const volatile __u64 seed = 1;

static __always_inline __u64
hash_of(const __u64 *key, int words)
{
	__u64 factor = seed, h = 0;

	for (int i = 0; i < words; i++) {
		/* The bytes that differ most are the last of an IPv6 address. */
		h += words > 1 ? key[i] ^ key[i] >> 32 : key[i];
		h *= factor;
		h ^= h >> 32;
	}
	return h * factor >> 32;
}

/*
 * The lesser, in assembly: the compiler may put it as "if less than the bound",
 * and then the verifier would know the greatest value of one branch to be less
 * than that of the other, and allow to add one of them to a pointer.
 */
static __always_inline __u64
at_most(__u64 value, __u64 bound)
{
	asm volatile("if %0 <= %1 goto +1\n%0 = %1" : "+r"(value) : "r"(bound));
	return value;
}

/* The home among the first few entries. */
static __always_inline __u64
home_of(const volatile struct extent *extent, __u64 few, const __u64 *key, int words)
{
	__u64 hash = hash_of(key, words);

	COMPUTED(hash);
	return hash * at_most(few, extent->homes) >> 32;
}

/*
 * The home of who is crowded out of those: behind them, if they are no more than
 * half of all, and apart from whom it was crowded by.
 */
static __always_inline __u64
far_home_of(const volatile struct extent *extent, __u64 few, const __u64 *key, int words)
{
	__u32 hash = hash_of(key, words) * 0x9e3779b1;
	__u64 all = extent->homes, home = hash * all >> 32;

	if (home < few)
		home = at_most(home + all / 2, all - 1);
	return home;
}

static __always_inline struct head *
head_of(char *table, __u32 cpu, const volatile struct extent *extent)
{
	return plus(table, (__u64)extent->part * cpu);
}

/* The offset of an entry in a table. */
static __always_inline __u64
offset_of(__u32 cpu, const volatile struct extent *extent, __u64 place, int words)
{
	__u64 at = place * ENTRY_WORDS(words) * sizeof(__u64) + sizeof(struct head);

	at += (__u64)extent->part * cpu;
	COMPUTED(at);
	return at;
}

/* Not by an index: the verifier allows only constants to be added here. */
static __always_inline __u64 *
next_entry(__u64 *entry, int words)
{
	entry += ENTRY_WORDS(words);
	COMPUTED(entry);
	return entry;
}

/* The compiler may not compare an entry with what would make its counters 0. */
static __always_inline struct counters *
counters_of(__u64 *entry, int words)
{
	struct counters *c = (struct counters *)(entry + words);

	COMPUTED(c);
	return c;
}

/* No client's address is zero. */
static __always_inline int
is_free(const __u64 *entry, int words)
{
	return !(entry[words - 1] | entry[words / 2]);
}

static __always_inline int
is_same(const __u64 *entry, const __u64 *key, int words)
{
	for (int i = 0; i < words; i++)
		if (entry[i] != key[i])
			return 0;
	return 1;
}

/* Most clients are within so many entries. */
#define NEAR 6

/* Gives the counters of a client that is near its home, an offset, or 0. */
static __always_inline struct counters *
find(char *table, __u64 home, const __u64 *key, int words)
{
	__u64 *entry = plus(table, home);

	UNROLLED
	for (int i = 0; i < NEAR; i++) {
		if (is_free(entry, words))
			break;
		if (is_same(entry, key, words))
			return counters_of(entry, words);
		entry = next_entry(entry, words);
	}
	return 0;
}

/* Where a client is, or may be entered; entry is 0 if there is no such place. */
struct found {
	__u64 *entry;
	__u32 place;
};

static __always_inline struct found
search(char *table, __u32 cpu, const volatile struct extent *extent, __u64 home,
       const __u64 *key, int words)
{
	__u64 *entry = plus(table, offset_of(cpu, extent, home, words));

	UNROLLED
	for (int i = 0; i < SEARCH; i++) {
		if (is_free(entry, words) || is_same(entry, key, words))
			return (struct found){.entry = entry, .place = home + i};
		entry = next_entry(entry, words);
	}
	return (struct found){};
}

/* Gives the counters of a client that it enters, or those of others. */
static __always_inline struct counters *
enter(struct head *head, const volatile struct extent *extent, struct found found,
      const __u64 *key, int words)
{
	__u64 used = head->used;

	if (!found.entry || used >= extent->room || is_free(key, words))
		return &head->other;
	*(__u32 *)plus(head, extent->places + used * sizeof(__u32)) = found.place;
	head->used = used + 1;
	for (int i = 0; i < words; i++)
		found.entry[i] = key[i];
	return counters_of(found.entry, words);
}

#endif
