// Multithreaded loops.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

// Consecutive loops: calls task(step, i, worker) for every i in [0, count(step)), for each step in [0, steps). A step
// begins when the previous one has ended. worker < threads identifies the thread. Threads are created once per call and
// end with it, so a later fork is safe.
template <typename Count, typename Task>
void parallel_steps(int64_t steps, int threads, const Count& count, const Task& task) {
    const std::unique_ptr<std::atomic<int64_t>[]> next(new std::atomic<int64_t>[steps]());
    std::atomic<int64_t> arrived{0};    // how often workers have reached the end of a step, over all steps
    std::atomic<int> workers{0};        // 0 until all have been started
    const auto work = [&](int worker) {
        while (!workers) std::this_thread::yield();
        for (int64_t step = 0; step < steps; ++step) {
            const int64_t end = count(step);
            for (int64_t i = next[step]++; i < end; i = next[step]++) task(step, i, worker);
            ++arrived;
            while (step + 1 < steps && arrived < (step + 1) * workers) std::this_thread::yield();
        }
    };
    std::vector<std::thread> helpers;
    try {
        for (int worker = 1; worker < threads; ++worker) helpers.emplace_back(work, worker);
    } catch (const std::system_error&) {
        // no more threads can be created: the existing ones do the work
    }
    workers = static_cast<int>(helpers.size()) + 1;
    work(0);
    for (auto& helper : helpers) helper.join();
}

// Calls task(i) for every i in [0, count).
template <typename Task>
void parallel_for(int64_t count, int threads, const Task& task) {
    parallel_steps(1, static_cast<int>(std::min<int64_t>(threads, count)), [&](int64_t) { return count; },
                   [&](int64_t, int64_t i, int) { task(i); });
}
