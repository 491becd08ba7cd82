/* A fixed number of threads that do the parts of one job, one job after the other.
 *
 * Semaphores, since the library is linked to nothing and takes what the process has: of conditions glibc holds an old
 * and a new kind under one name.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../kernels.h"

struct Threads {
    pthread_mutex_t job; /* interpreters that share a delegate take turns */
    sem_t begin, end;
    void (*work)(void *, int);
    void *context;
    atomic_int next; /* the part to be taken next */
    int count, workers, stopping;
    pthread_t worker[MAX_PARTS];
};

static void take_parts(Threads *t) {
    for (int part; (part = atomic_fetch_add(&t->next, 1)) < t->count;) t->work(t->context, part);
}

static void wait_for(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) { /* a signal came between */
    }
}

static void *serve(void *pool) {
    Threads *t = pool;
    for (;;) {
        wait_for(&t->begin);
        if (t->stopping) return NULL;
        take_parts(t);
        sem_post(&t->end);
    }
}

Threads *threads_start(int count) {
    Threads *t;
    if (count < 2 || (t = calloc(1, sizeof *t)) == NULL) return NULL;
    if (count > MAX_PARTS) count = MAX_PARTS;
    pthread_mutex_init(&t->job, NULL);
    sem_init(&t->begin, 0, 0);
    sem_init(&t->end, 0, 0);
    while (t->workers < count - 1 && pthread_create(&t->worker[t->workers], NULL, serve, t) == 0) t->workers++;
    if (t->workers) return t;
    threads_stop(t);
    return NULL;
}

void threads_stop(Threads *t) {
    if (t == NULL) return;
    t->stopping = 1;
    for (int i = 0; i < t->workers; i++) sem_post(&t->begin);
    for (int i = 0; i < t->workers; i++) pthread_join(t->worker[i], NULL);
    sem_destroy(&t->begin);
    sem_destroy(&t->end);
    pthread_mutex_destroy(&t->job);
    free(t);
}

void threads_run(Threads *t, int count, void (*work)(void *, int), void *context) {
    if (t == NULL || count < 2) {
        for (int part = 0; part < count; part++) work(context, part);
        return;
    }
    int helpers = count - 1 < t->workers ? count - 1 : t->workers;
    pthread_mutex_lock(&t->job);
    t->work = work, t->context = context, t->count = count;
    atomic_store(&t->next, 0);
    for (int i = 0; i < helpers; i++) sem_post(&t->begin);
    take_parts(t);
    for (int i = 0; i < helpers; i++) wait_for(&t->end);
    pthread_mutex_unlock(&t->job);
}
