/* claim.rs, settle.rs, floor.rs: a consumer of a shared group. */
#undef FORGET
#define FORGET \
    me = NOBODY; started = false; s = 0; f = 0; i = 0; g = 0; v = 0; r = 0; w = 0; before = 0; c = 0; ret = 0; k = 0; \
    unmoved[group] = unmoved[group] & ~BIT(p); \
    if :: holding -> held[WORD(group, claimed)]-- :: else fi; \
    holding = false; position = 0; holes = 0; claimed = 0; attempt = 0; inner = false

/* Ghost: the order of first claims, when one producer published all of it. */
#if PRODUCERS == 1
#define IN_ORDER(s) ((fresh[g] & BELOW(s)) == 0)
#else
#define IN_ORDER(s) true
#endif
/* Where raise_floor and take go on. */
#define TO_GIVEN_BACK 1
#define TO_HINTS 2
#define TO_LAPPED 3
#define TO_HOLES 4
#define TO_NEXT 5
/* Where note_ready goes on. */
#define TO_IDLE 6

/* Ghost: `given` says nothing of what is below the hint, once its giver has returned (I6). */
#define CHECK_HINT \
    assert(given[g] == 0 || (ready[g] != 0 && (given[g] & BELOW(ready[g] - 1)) == 0))
#ifdef MUTANT_HINT_WITHOUT_VERSION
#define HINT_UNMOVED true
#else
#define HINT_UNMOVED HOLDS(unmoved[g], p)
#endif
/* A claim is made of `s`, with `attempt` (I4, I5, order, and the attempts as they are in truth). */
#define SIGN(t) \
    assert(held[WORD(g, s)] == 0 && HOLDS(todo[g], s)); \
    assert(!HOLDS(fresh[g], s) || IN_ORDER(s)); \
    claims[WORD(g, s)] = CLAIM(s, attempt, me, t); \
    least[WORD(g, s)] = least[WORD(g, s)] + (t == OPENED -> 1 : 0); \
    assert(attempt == least[WORD(g, s)]); \
    held[WORD(g, s)]++; \
    fresh[g] = fresh[g] & ~BIT(s); given[g] = given[g] & ~BIT(s); \
    holding = true; claimed = s; c = 0

#define TAKE_REFUSED (!C_NEVER(claims[WORD(g, s)], s) && !C_IN(claims[WORD(g, s)], s, READY))
/* The search is over; what it knew of the hint is forgotten. */
#define END_SEARCH s = 0; f = 0; r = 0; ret = 0; unmoved[g] = unmoved[g] & ~BIT(p)
/* I6. */
#define RAISE \
    floor_[g] = (s > floor_[g] -> s : floor_[g]); \
    assert(((writing | todo[g]) & BELOW(floor_[g])) == 0)
#ifdef LIMIT
#define TOO_OFTEN (attempt > LIMIT)
#else
#define TOO_OFTEN false
#endif
#define END_CLAIM(was, t, a) \
    assert(claims[WORD(g, claimed)] == CLAIM(claimed, attempt, me, was)); \
    assert(bytes[AT(claimed)] == claimed + 1); \
    if \
    :: t == DONE -> claims[WORD(g, claimed)] = C_DONE(claimed); least[WORD(g, claimed)] = 0; todo[g] = todo[g] & ~BIT(claimed) \
    :: else -> claims[WORD(g, claimed)] = CLAIM(claimed, a, me, t) \
    fi; \
    held[WORD(g, claimed)]--; \
    holding = false; attempt = 0

proctype Consumer(byte p; byte group) {
#include "locals.pml"
    byte position, claimed, attempt;
    short holes;
    bool holding, inner;

    d_step { g = group };
    goto idle;
#include "sweep.pml"

/* Ring::claimer: known_head: the head hint, then the floor. */
start:
    if
    DIES
    :: d_step { true -> g = group; position = head[g] } goto start_floor
    fi;
start_floor:
    if
    DIES
    :: d_step { true -> position = (floor_[g] > position -> floor_[g] : position); started = true; g = 0 } goto idle
    fi;

idle:
    if
    :: d_step { true -> g = group; ret = 0 } goto given_back
    fi;

/* claim_given_back: the ready hint ... */
given_back:
    if
    DIES
    :: d_step { ready[g] == 0 -> s = 0 } goto hole
    :: d_step { ready[g] != 0 -> r = ready[g]; unmoved[g] = unmoved[g] | BIT(p); ret = TO_GIVEN_BACK } goto raise_floor
    fi;
/* ... the slots from there on, at most a lap above the floor `f` ... */
given_slot:
    if
    DIES
    :: d_step { s < f + CAP && IS_PUB(slot[AT(s)], s) } goto given_claim
    :: d_step { s < f + CAP && (IS_ABO(slot[AT(s)], s) || IS_LAPPED(slot[AT(s)], s)) -> s++ } goto given_slot
    :: d_step { s < f + CAP && IS_EARLIER(slot[AT(s)], s) } goto given_newest
    :: d_step { s >= f + CAP && s + 1 != r } goto given_raise
    :: d_step { s >= f + CAP && s + 1 == r -> END_SEARCH } goto hole
    fi;
/* ... newest_taken, if a slot is empty: the reservation, the slot again ... */
given_newest:
    if
    DIES
    :: d_step { R_AHEAD(reservation[AT(s)], s) -> s++ } goto given_slot
    :: d_step { !R_AHEAD(reservation[AT(s)], s) } goto given_newest_slot
    fi;
given_newest_slot:
    if
    DIES
    :: d_step { IS_EARLIER(slot[AT(s)], s) } goto given_clear
    :: d_step { !IS_EARLIER(slot[AT(s)], s) -> s++ } goto given_slot
    fi;
/* ... (nothing: clears the hint, if nobody has given back meanwhile) ... */
given_clear:
    if
    DIES
    :: d_step { HINT_UNMOVED -> ready[g] = 0; unmoved[g] = 0; CHECK_HINT; END_SEARCH } goto hole
    :: d_step { !HINT_UNMOVED -> END_SEARCH } goto hole
    fi;
/* ... the claim word ... */
given_claim:
    if
    DIES
    :: d_step { C_IN(claims[WORD(g, s)], s, READY) -> ret = TO_GIVEN_BACK } goto take
    :: d_step { C_NEVER(claims[WORD(g, s)], s) && s + 1 != r } goto given_raise
    :: d_step { C_NEVER(claims[WORD(g, s)], s) && s + 1 == r -> END_SEARCH } goto hole
    :: d_step { !C_IN(claims[WORD(g, s)], s, READY) && !C_NEVER(claims[WORD(g, s)], s) -> s++ } goto given_slot
    fi;
/* ... at the end the hint is raised, if nobody has given back meanwhile. */
given_raise:
    if
    DIES
    :: d_step { HINT_UNMOVED -> ready[g] = s + 1; unmoved[g] = 0; CHECK_HINT; END_SEARCH } goto hole
    :: d_step { !HINT_UNMOVED -> END_SEARCH } goto hole
    fi;
/* The same after a claim. */
given_taken:
    if
    DIES
    :: d_step { HINT_UNMOVED -> ready[g] = s + 2; unmoved[g] = 0; CHECK_HINT; END_SEARCH } goto claimed_one
    :: d_step { !HINT_UNMOVED -> END_SEARCH } goto claimed_one
    fi;

/* claim_hole: the slots stepped over, from the lowest; `s` is how far it has looked. */
hole:
    if
    :: d_step { (holes & ~BELOW(s)) == 0 && !inner -> s = 0 } goto next_slot
    :: d_step { (holes & ~BELOW(s)) == 0 && inner -> inner = false; s = position; position++; ret = TO_NEXT } goto take
    :: d_step {
        (holes & ~BELOW(s)) != 0 ->
        do :: !HOLDS(holes, s) -> s++ :: else -> break od
    } goto hole_slot
    fi;
hole_slot:
    if
    DIES
    :: d_step { IS_EARLIER(slot[AT(s)], s) -> s++ } goto hole
    :: d_step { IS_PUB(slot[AT(s)], s) -> holes = holes & ~BIT(s); ret = TO_HOLES } goto take
    :: d_step { IS_ABO(slot[AT(s)], s) || IS_LAPPED(slot[AT(s)], s) -> holes = holes & ~BIT(s); s++ } goto hole
    fi;

/* claim_next: the slot at the own position ... */
next_slot:
    if
    DIES
    /* (its producer may have published a slot stepped over before it published this one) */
    :: d_step { IS_PUB(slot[AT(position)], position) && holes != 0 -> inner = true; s = 0 } goto hole
    :: d_step { IS_PUB(slot[AT(position)], position) && holes == 0 -> s = position; position++; ret = TO_NEXT } goto take
    :: d_step { IS_ABO(slot[AT(position)], position) -> position++ } goto next_slot
    :: d_step { IS_LAPPED(slot[AT(position)], position) } goto next_lapped
    :: d_step { IS_EARLIER(slot[AT(position)], position) } goto next_peek
    fi;
/* ... far behind: known_head, raise_floor ... */
next_lapped:
    if
    DIES
    :: d_step { true -> v = head[g] } goto next_lapped_floor
    fi;
next_lapped_floor:
    if
    DIES
    :: d_step { true -> v = (floor_[g] > v -> floor_[g] : v); ret = TO_LAPPED } goto raise_floor
    fi;
/* ... nothing yet: is_hole: the slot behind, and, now and then, newest_taken. */
next_peek:
    if
    DIES
    :: d_step { !IS_EARLIER(slot[AT(position + 1)], position + 1) -> holes = holes | BIT(position); position++ } goto next_slot
    :: d_step { IS_EARLIER(slot[AT(position + 1)], position + 1) } goto vain
    :: d_step { IS_EARLIER(slot[AT(position + 1)], position + 1) } goto next_newest
    fi;
next_newest:
    if
    DIES
    :: d_step { R_AHEAD(reservation[AT(position)], position) -> holes = holes | BIT(position); position++ } goto next_slot
    :: d_step { !R_AHEAD(reservation[AT(position)], position) } goto next_newest_slot
    fi;
next_newest_slot:
    if
    DIES
    :: d_step { IS_EARLIER(slot[AT(position)], position) } goto vain
    :: d_step { !IS_EARLIER(slot[AT(position)], position) -> holes = holes | BIT(position); position++ } goto next_slot
    fi;

/* take: the claim word ... */
take:
    if
    DIES
    :: d_step {
        C_NEVER(claims[WORD(g, s)], s) || C_IN(claims[WORD(g, s)], s, READY) -> c = claims[WORD(g, s)]
    } goto take_sign
    :: d_step { TAKE_REFUSED && ret == TO_GIVEN_BACK -> s++ } goto given_slot
    :: d_step { TAKE_REFUSED && ret == TO_HOLES -> s++; ret = 0 } goto hole
    :: d_step { TAKE_REFUSED && ret == TO_NEXT -> s = 0; ret = 0 } goto next_slot
    fi;
/* ... and the CAS that takes and signs: handed over at once, or, for a batch, only claimed. */
take_sign:
    if
    DIES
    :: d_step {
        claims[WORD(g, s)] == c ->
        attempt = (C_NEVER(c, s) -> 0 : C_ATTEMPT(c)) + 1;
        SIGN(OPENED)
    } goto take_done
#ifdef BATCHES
    :: d_step {
        claims[WORD(g, s)] == c ->
        attempt = (C_NEVER(c, s) -> 0 : C_ATTEMPT(c));
        SIGN(CLAIMED)
    } goto take_done
#endif
    :: d_step { claims[WORD(g, s)] != c && ret == TO_GIVEN_BACK -> c = 0; s++ } goto given_slot
    :: d_step { claims[WORD(g, s)] != c && ret == TO_HOLES -> c = 0; s++; ret = 0 } goto hole
    :: d_step { claims[WORD(g, s)] != c && ret == TO_NEXT -> c = 0; s = 0; ret = 0 } goto next_slot
    fi;
take_done:
    if
    :: d_step { ret == TO_GIVEN_BACK } goto given_taken
    :: d_step { ret != TO_GIVEN_BACK -> s = 0; ret = 0; inner = false } goto claimed_one
    fi;

/* claim: now and then the floor and the head hint, which stays below every slot stepped over. */
claimed_one:
    if
#ifdef LAG
    :: d_step { true } goto handle
#endif
    :: d_step { true -> ret = TO_HINTS } goto raise_floor
    fi;
raise_head:
    if
    DIES
    :: d_step {
        true ->
#ifdef MUTANT_HEAD_PASSES_HOLES
        s = position;
#else
        s = 0;
        do :: s < position && !HOLDS(holes, s) -> s++ :: else -> break od;
#endif
        head[g] = (s > head[g] -> s : head[g]);
        assert(((writing | fresh[g]) & BELOW(head[g])) == 0);
        s = 0; ret = 0
    } goto handle
    fi;

/* raise_floor: the floor ... */
raise_floor:
    if
    DIES
    :: d_step { true -> s = floor_[g] } goto find
    fi;
/* ... settled_until: the claim word, then the slot ... */
find:
    if
    DIES
    :: d_step { SETTLED_BY_CLAIM(g, s) -> s++ } goto find
    :: d_step { C_NEVER(claims[WORD(g, s)], s) } goto find_slot
    :: d_step { !SETTLED_BY_CLAIM(g, s) && !C_NEVER(claims[WORD(g, s)], s) } goto raise
    fi;
find_slot:
    if
    DIES
    :: d_step { SETTLED_BY_SLOT(s) -> s++ } goto find
    :: d_step { !SETTLED_BY_SLOT(s) } goto raise
    fi;
/* ... and up to there. */
raise:
    if
    DIES
    :: d_step { ret == TO_GIVEN_BACK -> RAISE; f = s; s = (r - 1 > s -> r - 1 : s) } goto given_slot
    :: d_step { ret == TO_HINTS -> RAISE; s = 0 } goto raise_head
    :: d_step {
        ret == TO_LAPPED ->
        RAISE;
        v = (s > v -> s : v);
        /* Else the code would call this damage. */
        assert(v > position);
        position = v; v = 0; s = 0; ret = 0
    } goto next_slot
    fi;

/* What the caller does with a claim. open: a message of a batch is handed over now. */
handle:
    if
    DIES
#ifdef BATCHES
    :: d_step {
        C_STATE(claims[WORD(g, claimed)]) == CLAIMED ->
        assert(claims[WORD(g, claimed)] == CLAIM(claimed, attempt, me, CLAIMED));
        attempt++; least[WORD(g, claimed)]++;
        claims[WORD(g, claimed)] = CLAIM(claimed, attempt, me, OPENED)
    } goto handle
    /* unclaim */
    :: d_step { C_STATE(claims[WORD(g, claimed)]) == CLAIMED && nacks > 0 -> nacks--; END_CLAIM(CLAIMED, READY, attempt) } goto note_ready
#endif
    /* settle: Ack, Nack, Release, Park. Nobody takes us for dead, so it is never refused (I3: nor were the bytes changed). */
    :: d_step {
        C_STATE(claims[WORD(g, claimed)]) == OPENED && !TOO_OFTEN ->
        END_CLAIM(OPENED, DONE, attempt);
        claimed = 0
    } goto idle
    :: d_step { C_STATE(claims[WORD(g, claimed)]) == OPENED && nacks > 0 && !TOO_OFTEN -> nacks--; END_CLAIM(OPENED, READY, attempt) } goto note_ready
#ifdef RELEASES
    :: d_step {
        C_STATE(claims[WORD(g, claimed)]) == OPENED && nacks > 0 && !TOO_OFTEN -> 
        nacks--; least[WORD(g, claimed)]--; END_CLAIM(OPENED, READY, attempt - 1)
    } goto note_ready
#endif
#ifdef LIMIT
    :: d_step { C_STATE(claims[WORD(g, claimed)]) == OPENED && TOO_OFTEN -> END_CLAIM(OPENED, DEAD, attempt) } goto decide
#endif
    /* Only a mutant gets here. */
    :: d_step { C_STATE(claims[WORD(g, claimed)]) != OPENED && C_STATE(claims[WORD(g, claimed)]) != CLAIMED -> assert(false) } goto idle
    fi;

/* note_ready: the hint ... */
note_ready:
    if
    DIES
    :: d_step { true -> c = ready[g]; unmoved[g] = unmoved[g] | BIT(p) } goto note_ready_set
    fi;
/* ... lowered, in any case a new version. */
note_ready_set:
    if
    DIES
    :: d_step {
        HOLDS(unmoved[g], p) ->
        LOWER_HINT(claimed);
        if :: C_IN(claims[WORD(g, claimed)], claimed, READY) -> given[g] = given[g] | BIT(claimed) :: else fi;
        c = 0; claimed = 0
    } goto idle
    :: d_step { !HOLDS(unmoved[g], p) -> c = 0 } goto note_ready
    fi;

#ifdef LIMIT
/* dead.rs: decide: a member, for a person: give back as if never handed over, or discard. */
decide:
    if
    DIES
    :: d_step {
        C_IN(claims[WORD(g, claimed)], claimed, DEAD) ->
        claims[WORD(g, claimed)] = C_DONE(claimed); least[WORD(g, claimed)] = 0; todo[g] = todo[g] & ~BIT(claimed); claimed = 0
    } goto idle
    :: d_step { C_IN(claims[WORD(g, claimed)], claimed, DEAD) && nacks > 0 -> nacks--; least[WORD(g, claimed)] = 0; claims[WORD(g, claimed)] = CLAIM(claimed, 0, 0, READY) } goto note_ready
    :: d_step { !C_IN(claims[WORD(g, claimed)], claimed, DEAD) -> claimed = 0 } goto idle
    fi;
#endif

/* wait.rs: nothing there: tries again; now and then (look_again) for what was given back and not said: the floor. */
vain:
    if
    :: d_step { true } goto idle
#ifdef LOOK_AGAIN
    :: d_step { true -> claimed = floor_[g] } goto note_ready
#endif
    fi;
gone:
    skip
}
