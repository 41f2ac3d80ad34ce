// Loops on several threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

// One loop after another: calls task(step, i, worker) for every i in [0, count(step)), for each step in [0, steps). A
// step begins when the one before it has ended. worker < threads tells the threads apart. They are made for the call,
// once for all steps: none survive it, so a later fork is safe.
template <typename Count, typename Task>
void parallel_steps(int64_t steps, int threads, const Count& count, const Task& task) {
    const std::unique_ptr<std::atomic<int64_t>[]> next(new std::atomic<int64_t>[steps]());
    std::atomic<int64_t> arrived{0};    // at the end of a step, by all workers in all steps
    std::atomic<int> workers{0};        // 0 until they are all there
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
        // no more threads to be had: the ones there are do the work
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
