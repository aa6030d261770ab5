# SPDX-License-Identifier: BSD-3-Clause
"""How many threads to use: OpenMP's settings, affinity, cgroup quota, fork, and failing starts.

The only module, with the drivers' ``prange``, that knows of threads.
"""

import math
import os
import re
from functools import cache

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock,
    PyThread_type_lock, WAIT_LOCK,
)
from libc.stdlib cimport calloc, free

from fastmix.core._warn import warn

__all__ = ["openmp_runtime", "thread_limit", "useful_threads"]

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    /* OpenMP 5.0, which libgomp has since GCC 9 and libomp since LLVM 9 without saying so. */
    #if defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 9
    #define fm_pause() omp_pause_resource_all(omp_pause_soft)
    #else
    #define fm_pause() 1
    #endif
    #define fm_openmp _OPENMP
    #else
    #define fm_openmp 0
    #define fm_pause() 0
    #define omp_get_max_threads() 1
    #define omp_get_num_procs() 1
    #endif

    /* Threads that this thread's OpenMP pool holds, this one included. */
    #ifdef _MSC_VER
    static __declspec(thread) int fm_pool = 1;
    #else
    static _Thread_local int fm_pool = 1;
    #endif

    /* A team of this many threads, which then are in the pool; how many it had. */
    static int fm_start_team(int threads)
    {
        int count = 0;
    #ifdef _OPENMP
    #pragma omp parallel num_threads(threads) reduction(+ : count)
    #endif
        count += 1;
        return count;
    }

    #if defined(__unix__) || defined(__APPLE__)
    #include <pthread.h>
    #include <sys/mman.h>
    static void *fm_wait(void *mutex)
    {
        pthread_mutex_lock(mutex);
        pthread_mutex_unlock(mutex);
        return NULL;
    }
    /* How many of this many threads, with stacks of stack bytes (0: the default), can run at once
     * beside slack bytes of memory; all have ended, and their stacks are free, on return. */
    static int fm_startable(int threads, size_t stack, size_t slack, pthread_t *started)
    {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_attr_t attributes;
        int count = 0;
        void *memory = mmap(NULL, slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            -1, 0);
        if (memory == MAP_FAILED)
            return 0;
        if (pthread_attr_init(&attributes) == 0) {
            if (stack)
                pthread_attr_setstacksize(&attributes, stack);
            pthread_mutex_lock(&mutex);
            while (count < threads &&
                   pthread_create(&started[count], &attributes, fm_wait, &mutex) == 0)
                count++;
            pthread_mutex_unlock(&mutex);
            for (int i = 0; i < count; i++)
                pthread_join(started[i], NULL);
            pthread_attr_destroy(&attributes);
        }
        munmap(memory, slack);
        return count;
    }
    #else
    typedef int pthread_t;
    #define fm_startable(threads, stack, slack, started) (threads)
    #endif
    """
    ctypedef int pthread_t
    int fm_pool
    int fm_start_team(int threads)
    int fm_startable(int threads, size_t stack, size_t slack, pthread_t *started)
    const int fm_openmp
    int fm_pause()
    int omp_get_max_threads()
    int omp_get_num_procs()

cdef extern from "fm_atomic.h":
    void fm_add_to(int *total, int value) noexcept nogil

# A thread more must have this much work: waking a sleeping one takes some 20 microseconds, and on a
# busy machine a region waits for the slowest.
cdef double NANOSECONDS_A_THREAD = 100_000

# Memory that must be there beside the stacks before threads are started, for what the runtime
# itself allocates: libgomp takes some 4 KiB at a start, and ends the process without it.
cdef size_t START_BYTES = 2**20

cdef int _active = 0        # driver calls that are inside a parallel region
cdef int _ceiling = 2**31 - 1   # threads that will not start beyond this
cdef bint _serial = False   # forked while another thread was computing


cdef int enter() except -1:
    fm_add_to(&_active, 1)
    return 0


cdef int leave() except -1:
    fm_add_to(&_active, -1)
    return 0


cdef class Locks:
    """Locks for parts that threads share; none, and thread i has part i, where all have their own.
    """

    def __cinit__(self, int n_parts, int n_threads):
        self.n_parts = n_parts
        if n_parts < n_threads:
            self.locks = <PyThread_type_lock *>calloc(n_parts, sizeof(PyThread_type_lock))
            if self.locks == NULL:
                raise MemoryError(f"{n_parts} locks for the shared statistics")
            for part in range(n_parts):
                self.locks[part] = PyThread_allocate_lock()
                if self.locks[part] == NULL:
                    raise MemoryError(f"{n_parts} locks for the shared statistics")

    def __dealloc__(self):
        if self.locks != NULL:
            for part in range(self.n_parts):
                if self.locks[part] != NULL:
                    PyThread_free_lock(self.locks[part])
            free(self.locks)

    cdef int acquire(self, int thread) noexcept nogil:
        """The part that this thread may add to until it releases it."""
        if self.locks == NULL:
            return thread
        PyThread_acquire_lock(self.locks[thread % self.n_parts], WAIT_LOCK)
        return thread % self.n_parts

    cdef void release(self, int part) noexcept nogil:
        if self.locks != NULL:
            PyThread_release_lock(self.locks[part])


def _before_fork():
    # libgomp's pool does not survive a fork: a child that opened a region would wait for ever for
    # threads that are not there (gcc bug 58378).  Given back here, it is built anew in the child.
    global _serial, fm_pool
    _serial = _active > 0 or fm_pause() != 0
    if not _serial:
        fm_pool = 1


def _after_fork_in_parent():
    global _serial
    _serial = False


def _after_fork_in_child():
    global _active, fm_pool
    _active = 0
    fm_pool = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


@cache
def _cgroup_cpus():
    """CPUs that the control group's quota allows, rounded up; None without a quota.

    Read once: opening the file takes as long as an iteration on a few hundred rows.
    """
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us") as file:
                period = file.read().strip()
        except OSError:
            return None
    if not quota.isdigit() or not period.isdigit() or int(quota) == 0 or int(period) == 0:
        return None
    return math.ceil(int(quota) / int(period))


def _default_threads():
    # omp_get_max_threads() already reflects OMP_NUM_THREADS, omp_set_num_threads() (which is what
    # threadpool_limits calls) and the affinity; a quota counts only where nobody chose.
    cdef int threads = omp_get_max_threads()
    quota = _cgroup_cpus()
    if quota is not None and quota < threads:
        if not os.environ.get("OMP_NUM_THREADS", "").isdigit():
            threads = quota
    # A mistyped OMP_NUM_THREADS=10000 must not take the machine down.  Asking is a system call.
    return threads if threads <= 8 else min(threads, 8 * omp_get_num_procs())


def _stack_bytes():
    """Stack of an OpenMP thread where OMP_STACKSIZE sets it, else 0: the system's default."""
    given = os.environ.get("OMP_STACKSIZE") or os.environ.get("GOMP_STACKSIZE", "")
    match = re.fullmatch(r"\s*(\d+)\s*([BKMG]?)\s*", given, re.I)
    if match is None:
        return 0
    return int(match[1]) << {"B": 0, "K": 10, "": 10, "M": 20, "G": 30}[match[2].upper()]


cdef int _start(int threads) except -1:
    """Of this many threads for the regions of this thread, those that start; they are started.

    Every Python thread has a pool of its own, which libgomp builds at the first region, takes down
    to the size of a smaller one, and ends the process when it cannot enlarge it.  So it grows here
    only, by threads that others of the same stacks have just proved possible: those have ended, and
    the C library gives their stacks to the next.
    """
    global _ceiling, fm_pool
    cdef int more = threads - fm_pool, found
    cdef pthread_t *started
    if more > 0:
        started = <pthread_t *>calloc(more, sizeof(pthread_t))
        if started == NULL:
            raise MemoryError(f"{more} threads")
        found = fm_startable(more, _stack_bytes(), START_BYTES, started)
        free(started)
        if found < more:
            _ceiling = fm_pool + found
            warn(
                f"fastmix uses {_ceiling} instead of {threads} threads: no more can be started",
                RuntimeWarning,
            )
            threads = _ceiling
        if found:
            fm_start_team(threads)
    if threads > 1:  # a region of one thread leaves the pool alone
        fm_pool = threads
    return threads


def thread_limit(n_threads=None):
    """Most threads to use: n_threads, or for None what OMP_NUM_THREADS, threadpool_limits, the CPU
    affinity and the cgroup quota allow."""
    if n_threads is None:
        return _default_threads()
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise TypeError(f"n_threads must be a positive integer or None, got {n_threads!r}")
    if n_threads < 1:
        raise ValueError(f"n_threads must be a positive integer or None, got {n_threads!r}")
    return min(int(n_threads), 2**31 - 1)


def useful_threads(int limit, double nanoseconds):
    """Threads, of at most limit, for work that would take one of them ``nanoseconds``."""
    if _serial or fm_openmp == 0:
        return 1
    limit = min(limit, _ceiling)
    if nanoseconds < limit * NANOSECONDS_A_THREAD:
        limit = max(1, int(nanoseconds / NANOSECONDS_A_THREAD))
    return _start(limit)


def openmp_runtime():
    """The OpenMP version that the compiler announced (yyyymm), or None."""
    return fm_openmp or None
