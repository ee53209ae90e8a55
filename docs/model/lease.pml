/* Leases (lease.rs): one message of a group with an ack time-out, its claim word, its lease word, a clock.
 *
 * Processes: consumers that claim, look at a copy, extend, settle, or stop for good where they are (a death; nobody sweeps
 * here, so its lease has to end the claim); processes that look for ended leases; a producer that overwrites the bytes once
 * the message is done. The clock goes on whenever it likes.
 */
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef LOOKERS
#define LOOKERS 1
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef TICKS
#define TICKS 4
#endif
#ifndef RELEASES
#define RELEASES 1
#endif
#define TIMEOUT 1
#define BY 2 /* what an extension asks for */
#define ATTEMPTS 6
#define NOBODY 7
#define READY 1
#define OPENED 2
#define DONE 3

/* Claim word. */
byte state = READY, attempt, owner = NOBODY;
#define SAME(a, o) (state == OPENED && attempt == (a) && owner == (o))
/* Lease word { deadline, attempt }; 0 is ENDED; `bound` names the claim by its attempt. (The lap is always the same.) */
#define ENDED 0
byte deadline, bound = ATTEMPTS;
byte now = 1;
byte bytes = 1;
byte deaths = DEATHS;
byte releases = RELEASES;
/* Ghosts: when the claim was made, and until when it was promised. */
byte made, promised;

#define DIES :: d_step { deaths > 0 -> deaths--; a = 0; d = 0; b = 0; copy = 0; e = 0 } goto died

proctype Consumer(byte p) {
    byte a, d, b, copy, e;
idle:
    if
    /* take: the load ... */
    :: d_step { state == READY && attempt + 1 < ATTEMPTS -> a = attempt } goto take
    :: state == DONE -> goto end
    fi;
/* ... the CAS. */
take:
    if
    DIES
    :: d_step {
        state == READY && attempt == a ->
        a++;
        state = OPENED; attempt = a; owner = p; made = now; promised = 0
    } goto begin
    :: d_step { !(state == READY && attempt == a) -> a = 0 } goto idle
    fi;
/* receive.rs: begin_lease_now: the clock ... */
begin:
    if
    DIES
    :: d_step { true -> d = now + TIMEOUT } goto begin_store
    fi;
begin_store:
#ifdef BEGIN_BY_CAS
/* As `extend_lease` does it: the lease, the claim, the CAS. */
    if
    DIES
    :: d_step { true -> e = deadline; b = bound } goto begin_claim
    fi;
begin_claim:
    if
    DIES
    :: d_step { SAME(a, p) && !(b == a && e == ENDED) } goto begin_cas
    :: d_step { !SAME(a, p) || (b == a && e == ENDED) -> d = 0; e = 0; b = 0 } goto read
    fi;
begin_cas:
    if
    DIES
    :: d_step { deadline == e && bound == b -> deadline = d; bound = a; d = 0; e = 0; b = 0 } goto read
    :: d_step { !(deadline == e && bound == b) -> e = 0; b = 0 } goto begin_store
    fi;
#else
/* ... lease.rs: begin_lease: a store. */
    if
    DIES
    :: d_step { true -> deadline = d; bound = a; d = 0 } goto read
    fi;
#endif
/* receive.rs: a copy of the bytes ... */
read:
    if
    DIES
    :: d_step { true -> copy = bytes } goto holds
    fi;
/* ... still_holds: it is whole. */
holds:
    if
    DIES
    :: d_step { SAME(a, p) -> assert(copy == 1); copy = 0 } goto work
#ifdef MUTANT_BELIEVE_THE_COPY
    :: d_step { !SAME(a, p) -> assert(copy == 1); copy = 0; a = 0 } goto idle
#else
    :: d_step { !SAME(a, p) -> copy = 0; a = 0 } goto idle
#endif
    fi;
work:
    if
    DIES
    :: d_step { now + BY <= TICKS -> d = now + BY } goto extend
    /* settle: Ack, if it is still ours. */
    :: d_step { SAME(a, p) -> state = DONE; attempt = 0; owner = NOBODY; a = 0 } goto idle
#ifdef MUTANT_LATE_ACK
    :: d_step { !SAME(a, p) -> assert(state != DONE); state = DONE; a = 0 } goto idle
#else
    :: d_step { !SAME(a, p) -> a = 0 } goto idle
#endif
#ifndef RELEASES_COUNT
    /* Release: not counted. */
    :: d_step { SAME(a, p) && releases > 0 -> releases--; state = READY; attempt = a - 1; owner = NOBODY; a = 0 } goto idle
#endif
    /* Nack. */
    :: d_step { SAME(a, p) && releases > 0 -> releases--; state = READY; owner = NOBODY; a = 0 } goto idle
    fi;
/* extend_lease: the lease word ... */
extend:
    if
    DIES
    :: d_step { true -> e = deadline; b = bound } goto extend_claim
    fi;
/* ... the claim word ... */
extend_claim:
    if
    DIES
    :: d_step { SAME(a, p) && !(b == a && e == ENDED) } goto extend_set
    :: d_step { !SAME(a, p) || (b == a && e == ENDED) -> d = 0; e = 0; b = 0 } goto work
    fi;
/* ... the CAS. */
extend_set:
    if
    DIES
    :: d_step {
        deadline == e && bound == b ->
        deadline = d; bound = a;
        if :: SAME(a, p) -> promised = d :: else fi;
        d = 0; e = 0; b = 0
    } goto work
    :: d_step { !(deadline == e && bound == b) } goto extend
    fi;
died:
end:
    skip
}

/* expire, expire_one: by whoever looks. */
proctype Looker() {
    byte at, a, d, b, o, copy, e;
idle:
    if
    :: d_step { state != DONE -> at = now } goto look
    :: state == DONE -> goto end
    fi;
look:
    if
    DIES
    :: d_step { true -> d = deadline; b = bound } goto look_claim
    fi;
look_claim:
    if
    DIES
    :: d_step { state != OPENED -> d = 0; b = 0; at = 0 } goto idle
    :: d_step { state == OPENED && b == attempt && d > at -> d = 0; b = 0; at = 0 } goto idle
    :: d_step { state == OPENED && b == attempt && d <= at -> a = attempt; o = owner } goto mark
    :: d_step { state == OPENED && b != attempt -> a = attempt } goto begin
    fi;
/* Its deadline has passed: marked ... */
mark:
    if
    DIES
#ifdef MUTANT_NO_MARK
    :: d_step { true } goto give_back
#else
    :: d_step { deadline == d && bound == b -> deadline = ENDED; bound = a } goto give_back
    :: d_step { !(deadline == d && bound == b) -> a = 0; o = 0; d = 0; b = 0; at = 0 } goto idle
#endif
    fi;
/* ... and given back. */
give_back:
    if
    DIES
    :: d_step {
        SAME(a, o) ->
#ifdef CHECK_EXTENSION
        /* An extension that succeeded holds. */
        assert(at >= promised);
#endif
#ifdef CHECK_TERM
        /* No claim is ended sooner than a time-out after it was made. */
        assert(at >= made + TIMEOUT);
#endif
        state = READY; owner = NOBODY; a = 0; o = 0; d = 0; b = 0; at = 0
    } goto idle
    :: d_step { !SAME(a, o) -> a = 0; o = 0; d = 0; b = 0; at = 0 } goto idle
    fi;
/* It speaks of another claim: begun for its owner. */
begin:
    if
    DIES
    :: d_step { deadline == d && bound == b -> deadline = at + TIMEOUT; bound = a; a = 0; d = 0; b = 0; at = 0 } goto idle
    :: d_step { !(deadline == d && bound == b) -> a = 0; d = 0; b = 0; at = 0 } goto idle
    fi;
died:
end:
    skip
}

proctype Clock() {
    do
    :: d_step { now < TICKS -> now++ }
    :: now == TICKS -> break
    od
}

/* The next lap, once the message is settled. */
proctype Producer() {
    d_step { state == DONE -> bytes = 2 }
}

init {
    atomic {
        byte n;
        do :: n < CONSUMERS -> run Consumer(n); n++ :: else -> break od;
        n = 0;
        do :: n < LOOKERS -> run Looker(); n++ :: else -> break od;
        n = 0;
        run Clock();
        run Producer()
    }
}
