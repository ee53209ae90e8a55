/* The shared words, how they are packed, and what the model knows beside them ("ghosts": written by nobody, only checked).
 *
 * A sequence implies lap and index, so every lap here is written as the sequence of that lap: words of one index compare
 * the same either way, and laps do not wrap.
 */
#ifndef CAP
#define CAP 2 /* slots */
#endif
#ifndef PRODUCERS
#define PRODUCERS 1
#endif
#ifndef MSGS
#define MSGS 4 /* messages each producer publishes */
#endif
#ifndef SHARED
#define SHARED 1 /* shared groups; they come first */
#endif
#ifndef CONSUMERS
#define CONSUMERS 2 /* of each shared group */
#endif
#ifndef EXCLUSIVE
#define EXCLUSIVE 0 /* exclusive groups */
#endif
#ifndef STANDBYS
#define STANDBYS 2 /* consumers of each exclusive group */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef NACKS
#define NACKS 0 /* how often a consumer says nack, release, or drops a batch */
#endif
#ifndef HANDOVERS
#define HANDOVERS 0 /* how often an active consumer of an exclusive group steps down */
#endif
#ifndef GUARDS
#define GUARDS 1 /* deliveries an active consumer may hold at once, 1 or 2 */
#endif
#ifndef SWEEPERS
#define SWEEPERS 1 /* processes that only look for the dead; those that wait in the code do it as well */
#endif
#define PROCESSES (PRODUCERS + SHARED * CONSUMERS + EXCLUSIVE * STANDBYS + SWEEPERS)
#ifndef NUMBERS
#define NUMBERS PROCESSES /* entries of the participant table */
#endif
#define GROUPS (SHARED + EXCLUSIVE)
#define NOBODY NUMBERS

/* Reservation: 0 is Empty. */
#define TAKEN(s, o) (1 + (s) * NUMBERS + (o))
#define R_SEQ(r) (((r) - 1) / NUMBERS)
#define R_OWNER(r) (((r) - 1) % NUMBERS)
#define R_AHEAD(r, s) ((r) != 0 && R_SEQ(r) >= (s))

/* Slot word: 0 is Empty. Its owner is only told, never looked at, so it is left out. */
#define PUB(s) (2 * (s) + 2)
#define ABO(s) (2 * (s) + 3)
#define W_SEQ(w) ((w) / 2 - 1)
/* SlotView of a word for a sequence; Empty is Earlier of any lap. */
#define IS_PUB(w, s) ((w) == PUB(s))
#define IS_ABO(w, s) ((w) == ABO(s))
#define IS_LAPPED(w, s) ((w) != 0 && W_SEQ(w) > (s))
#define IS_EARLIER(w, s) ((w) == 0 || W_SEQ(w) < (s))
#define IS_LAP_BEFORE(w, s) (((w) == 0 && (s) < CAP) || ((w) != 0 && W_SEQ(w) + CAP == (s)))

/* Claim word: 0 is Never of no lap. A Done word names nobody here: nobody looks at who was done. */
#define ATTEMPTS 8
#define NEVER 0
#define CLAIMED 1
#define OPENED 2
#define READY 3
#define DONE 4
#define DEAD 5
#define CLAIM(s, a, o, t) (((((s) + 1) * ATTEMPTS + (a)) * NUMBERS + (o)) * 6 + (t))
#define C_STATE(c) ((c) % 6)
#define C_OWNER(c) (((c) / 6) % NUMBERS)
#define C_ATTEMPT(c) (((c) / (6 * NUMBERS)) % ATTEMPTS)
#define C_SEQ(c) ((c) / (6 * NUMBERS * ATTEMPTS) - 1)
#define C_DONE(s) CLAIM(s, 0, 0, DONE)
/* ClaimWord::state_in. */
#define C_NEWER(c, s) (C_SEQ(c) > (s))
#define C_IN(c, s, t) (C_SEQ(c) == (s) && C_STATE(c) == (t))
#define C_NEVER(c, s) (C_SEQ(c) < (s))

#define AT(s) ((s) % CAP)
#define WORD(g, s) ((g) * CAP + (s) % CAP)
#define BIT(s) (1 << (s))
#define BELOW(s) ((1 << (s)) - 1)
#define HOLDS(m, s) (((m) >> (s)) & 1)

/* control::TAIL; reservations; slot words; slots' bytes. */
byte tail;
byte reservation[CAP];
byte slot[CAP];
byte bytes[CAP];

/* Groups. */
short claims[GROUPS * CAP];
byte floor_[GROUPS];
byte head[GROUPS];
/* Ready hint: 0 is none, else the sequence + 1. The version is not a number here. What it is for is that a searcher's
 * CAS fails if anybody has given back since its load; `unmoved` has the bit of every process for which the word has not
 * changed since its load. That is a version that never wraps. */
byte ready[GROUPS];
byte unmoved[GROUPS];
/* Exclusive groups: OWNER is { incarnation, participant + 1 or 0 }. */
byte owner[GROUPS];
byte incarnation[GROUPS];
byte opened_[GROUPS];

/* Participants: entry, and who has the lock on its byte: 0 nobody, else process + 1. Locks end with their process. */
#define FREE 0
#define LIVE 1
byte entry[NUMBERS];
byte lock[NUMBERS];

/* What may still happen. */
byte deaths = DEATHS;
byte nacks = NACKS;
byte handovers = HANDOVERS;
byte done_producers;

/* Ghosts. Sequences taken so far (they are taken in order); being written; per group: published and not settled, and
 * never handed out; given back, the giver has returned; per slot and group: claims and guards of the living. */
byte taken;
short writing;
short todo[GROUPS];
short fresh[GROUPS];
short given[GROUPS];
byte held[GROUPS * CAP];
/* Attempts as they are in truth, per slot: in a shared group exactly `least`; in an exclusive one the hand-overs that must
 * be counted and those that may be. */
byte least[GROUPS * CAP];
byte most[GROUPS * CAP];

/* A death, as one more way to go on from any step. Nothing of the process is left but words; its locks are free. */
#define DIES \
    :: d_step { deaths > 0 -> deaths--; RELEASE_LOCKS; FORGET } goto died
#define RELEASE_LOCKS \
    k = 0; \
    do \
    :: k < NUMBERS -> if :: lock[k] == p + 1 -> lock[k] = 0 :: else fi; k++ \
    :: else -> break \
    od; \
    k = 0

/* Dead: an entry whose lock is free. */
#define IS_DEAD(id) (id != me && entry[id] == LIVE && lock[id] == 0)
#define IS_FREE(id) (entry[id] == FREE && lock[id] == 0)
#if NUMBERS == 2
#define ANY(test) (test(0) || test(1))
#elif NUMBERS == 3
#define ANY(test) (test(0) || test(1) || test(2))
#elif NUMBERS == 4
#define ANY(test) (test(0) || test(1) || test(2) || test(3))
#elif NUMBERS == 5
#define ANY(test) (test(0) || test(1) || test(2) || test(3) || test(4))
#elif NUMBERS == 6
#define ANY(test) (test(0) || test(1) || test(2) || test(3) || test(4) || test(5))
#else
#error "two to six participants"
#endif
#define LOWEST(test) \
    v = 0; \
    do :: !(test(v)) -> v++ :: else -> break od

/* is_settled (floor.rs): by the claim word; or, if that says Never, by the slot. */
#ifdef MUTANT_FLOOR_PASSES_OPENED
#define SETTLED_BY_CLAIM(g, s) \
    (C_IN(claims[WORD(g, s)], s, DONE) || C_IN(claims[WORD(g, s)], s, OPENED) || C_NEWER(claims[WORD(g, s)], s))
#else
#define SETTLED_BY_CLAIM(g, s) (C_IN(claims[WORD(g, s)], s, DONE) || C_NEWER(claims[WORD(g, s)], s))
#endif
#define SETTLED_BY_SLOT(s) (IS_ABO(slot[AT(s)], s) || IS_LAPPED(slot[AT(s)], s))

/* ReadyHint::lowered_to, of the hint `c`. */
#define LOWER_HINT(s) ready[g] = ((c != 0 && c < (s) + 1) -> c : (s) + 1); unmoved[g] = 0
/* The words a sweep of `v` looks for. Nobody but `v` writes its name, and it is dead: a word that does not name it will not
 * do so later, so those before the next that does are passed in one step. */
#define OPEN_RESERVATION(i) \
    (reservation[i] != 0 && R_OWNER(reservation[i]) == v && SWEPT_SLOT(i))
#ifdef MUTANT_ABORT_PUBLISHED
#define SWEPT_SLOT(i) true
#else
#define SWEPT_SLOT(i) IS_EARLIER(slot[i], R_SEQ(reservation[i]))
#endif
#ifdef MUTANT_SWEEP_THE_LIVING
#define SWEPT_CLAIM(i) (C_STATE(claims[i]) == CLAIMED || C_STATE(claims[i]) == OPENED)
#else
#define SWEPT_CLAIM(i) ((C_STATE(claims[i]) == CLAIMED || C_STATE(claims[i]) == OPENED) && C_OWNER(claims[i]) == v)
#endif

/* Ghost: a sequence is published. */
#define NOTE_PUBLISHED(s) \
    k = 0; \
    do \
    :: k < GROUPS -> \
        todo[k] = todo[k] | BIT(s); fresh[k] = fresh[k] | BIT(s); \
        least[WORD(k, s)] = 0; most[WORD(k, s)] = 0; \
        k++ \
    :: else -> break \
    od; \
    k = 0
/* I1: for every group the floor, as it is in truth, has passed the lap before. */
#define CHECK_REUSE(s) \
    k = 0; \
    do \
    :: k < GROUPS -> \
        assert((s) < CAP || ((writing | todo[k]) & BELOW((s) - CAP + 1)) == 0); \
        k++ \
    :: else -> break \
    od; \
    k = 0
/* I3: nobody looks at the bytes. */
#define CHECK_UNSEEN(s) \
    k = 0; \
    do \
    :: k < GROUPS -> assert(held[WORD(k, s)] == 0); k++ \
    :: else -> break \
    od; \
    k = 0
/* I7: no word names the participant. */
#define CHECK_UNNAMED(id) \
    k = 0; \
    do \
    :: k < CAP -> \
        assert(reservation[k] == 0 || R_OWNER(reservation[k]) != id || !IS_EARLIER(slot[k], R_SEQ(reservation[k]))); \
        k++ \
    :: else -> break \
    od; \
    k = 0; \
    do \
    :: k < SHARED * CAP -> \
        assert(!((C_STATE(claims[k]) == CLAIMED || C_STATE(claims[k]) == OPENED) && C_OWNER(claims[k]) == id)); \
        k++ \
    :: else -> break \
    od; \
    k = 0; \
    do \
    :: k < GROUPS -> assert(owner[k] != id + 1); k++ \
    :: else -> break \
    od; \
    k = 0
