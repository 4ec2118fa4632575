// 64 threads that allocate, hand the blocks to each other, and free what they were handed.
//
// What stays outstanding is what lies in the mailboxes at the end, and the target counts it.

#include <pthread.h>

#include "target.h"

#define THREADS 64
#define ROUNDS 100
#define SLOTS 16

SITE_OF("malloc", at_thread);

struct parcel {
    void *block;
    size_t size;
};

// A mailbox for each thread; full, its oldest parcel is freed by whoever wants to post.
static struct {
    pthread_mutex_t lock;
    struct parcel parcels[SLOTS];
    unsigned posted, taken;
} mailboxes[THREADS];

static pthread_barrier_t start;

SITE static void *at_thread(size_t size) {
    void *block = malloc(size);
    SINK(block);
    opened(&at_thread_site, size);
    return block;
}

SITE static void release(struct parcel parcel) {
    free(parcel.block);
    closed(&at_thread_site, parcel.size);
}

// Gives the oldest parcel of a locked mailbox.
static struct parcel take(int mailbox) {
    return mailboxes[mailbox].parcels[mailboxes[mailbox].taken++ % SLOTS];
}

static void post(int mailbox, struct parcel parcel) {
    struct parcel oldest = {NULL, 0};
    pthread_mutex_lock(&mailboxes[mailbox].lock);
    if (mailboxes[mailbox].posted - mailboxes[mailbox].taken == SLOTS)
        oldest = take(mailbox);
    mailboxes[mailbox].parcels[mailboxes[mailbox].posted++ % SLOTS] = parcel;
    pthread_mutex_unlock(&mailboxes[mailbox].lock);
    if (oldest.block)
        release(oldest);
}

static void collect(int mailbox) {
    struct parcel parcel = {NULL, 0};
    pthread_mutex_lock(&mailboxes[mailbox].lock);
    if (mailboxes[mailbox].posted != mailboxes[mailbox].taken)
        parcel = take(mailbox);
    pthread_mutex_unlock(&mailboxes[mailbox].lock);
    if (parcel.block)
        release(parcel);
}

static void *trade(void *argument) {
    int self = (int)(intptr_t)argument;
    uint64_t seed = 0x9e3779b97f4a7c15u * (uint64_t)(self + 1);
    pthread_barrier_wait(&start);
    for (int round = 0; round < ROUNDS; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        struct parcel parcel = {NULL, 101 + (seed >> 40) % 4096};
        parcel.block = at_thread(parcel.size);
        post((int)(seed >> 33) & (THREADS - 1), parcel);
        if (seed >> 63)
            collect(self);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_mutex_init(&mailboxes[i].lock, NULL);
    pthread_barrier_init(&start, NULL, THREADS + 1);
    // One half of the threads is there before the probes are, the other half comes after.
    for (int i = 0; i < THREADS / 2; i++)
        pthread_create(&threads[i], NULL, trade, (void *)(intptr_t)i);
    ready();
    for (int i = THREADS / 2; i < THREADS; i++)
        pthread_create(&threads[i], NULL, trade, (void *)(intptr_t)i);
    pthread_barrier_wait(&start);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return done();
}
