/* The protocol of src/ring, a step per access of a shared word, under deaths between any two. See README.md. */
#include "words.pml"
#define FORGET
#include "sweeper.pml"
#include "producer.pml"
#if SHARED > 0
#include "consumer.pml"
#endif
#if EXCLUSIVE > 0
#include "standby.pml"
#endif

#ifdef LIVENESS
/* Under weak fairness: every producer gets room for all it has, and what is published is acked in every group. */
#if GROUPS == 1
#define SETTLED (todo[0] == 0)
#else
#define SETTLED (todo[0] == 0 && todo[1] == 0)
#endif
ltl settled { <> (done_producers == PRODUCERS && writing == 0 && SETTLED) }
#endif

init {
    atomic {
        byte n, m;
        do
        :: n < PROCESSES -> entry[n] = LIVE; lock[n] = n + 1; n++
        :: else -> break
        od;
        n = 0;
        do
        :: n < PRODUCERS -> run Producer(n); n++
        :: else -> break
        od;
#if SHARED > 0
        m = 0;
        do
        :: m < SHARED * CONSUMERS -> run Consumer(n, m / CONSUMERS); n++; m++
        :: else -> break
        od;
#endif
#if EXCLUSIVE > 0
        m = 0;
        do
        :: m < EXCLUSIVE * STANDBYS -> run StandBy(n, SHARED + m / STANDBYS); n++; m++
        :: else -> break
        od;
#endif
        m = 0;
        do
        :: m < SWEEPERS -> run Sweeper(n); n++; m++
        :: else -> break
        od;
        n = 0; m = 0
    }
}
