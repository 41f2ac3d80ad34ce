// A device for PyTorch that behaves as a GPU does towards the host, for tests on machines without one: its memory is
// apart, so that a read or write by the host ends the process, and tensors of both sides do not mix. Operations copy
// their arguments to the CPU and the results back; convolutions too, for which PyTorch asks by another name.
#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/InferSize.h>
#include <ATen/TensorUtils.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

namespace {

using c10::IntArrayRef;
using std::optional;
constexpr auto APART = c10::DeviceType::PrivateUse1;
const c10::DispatchKeySet KEYS(c10::DispatchKey::PrivateUse1);

// ---- memory
struct Memory final : c10::Allocator {
    std::mutex mutex;
    std::map<char*, size_t> sizes;

    c10::DataPtr allocate(size_t bytes) override {
        const size_t page = 4096, size = (bytes + page) / page * page;
        void* start = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        TORCH_CHECK(start != MAP_FAILED, "no memory left on the device apart: ", bytes, " bytes");
        std::lock_guard<std::mutex> guard(mutex);
        sizes[static_cast<char*>(start)] = size;
        return {start, start, &release, c10::Device(APART, 0)};
    }

    // Let the host read and write the block that holds an address, or no longer.
    void open(const void* address, bool opened) {
        std::lock_guard<std::mutex> guard(mutex);
        auto block = sizes.upper_bound(static_cast<char*>(const_cast<void*>(address)));
        TORCH_CHECK(block != sizes.begin(), "not an address on the device apart");
        --block;
        mprotect(block->first, block->second, opened ? PROT_READ | PROT_WRITE : PROT_NONE);
    }

    static void release(void* start);
    c10::DeleterFnPtr raw_deleter() const override { return &release; }
    void copy_data(void*, const void*, size_t) const override { TORCH_CHECK(false, "storages are copied as tensors"); }
};
Memory memory;
REGISTER_ALLOCATOR(APART, &memory);

void Memory::release(void* start) {
    std::lock_guard<std::mutex> guard(memory.mutex);
    auto block = memory.sizes.find(static_cast<char*>(start));
    munmap(block->first, block->second);
    memory.sizes.erase(block);
}

// A tensor as one of the CPU on the same memory, which the host may touch meanwhile.
class Opened {
public:
    explicit Opened(const at::Tensor& tensor) : as_cpu(tensor) {
        if (tensor.device().type() != APART) return;
        address = tensor.data_ptr();
        memory.open(address, true);
        as_cpu = at::from_blob(address, tensor.sizes(), tensor.strides(), at::TensorOptions(tensor.dtype()));
    }
    ~Opened() {
        if (address) memory.open(address, false);
    }
    at::Tensor as_cpu;

private:
    void* address = nullptr;
};

// ---- one device with one stream, on which all is done when it is asked for
struct Guard final : c10::impl::NoOpDeviceGuardImpl<APART> {
    static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, c10::Device(APART, 0)); }
    c10::DeviceIndex deviceCount() const noexcept override { return 1; }
    c10::Device getDevice() const override { return c10::Device(APART, 0); }
    c10::Device exchangeDevice(c10::Device) const override { return getDevice(); }
    c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
    c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
    c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
    void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
    void block(void*, const c10::Stream&) const override {}
    bool queryEvent(void*) const override { return true; }
    void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
    void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};
Hooks hooks;
const bool registered = (at::RegisterPrivateUse1HooksInterface(&hooks), true);

// ---- tensors and their views
at::Tensor empty(IntArrayRef size, optional<at::ScalarType> dtype, optional<at::Layout>, optional<at::Device>,
                 optional<bool>, optional<at::MemoryFormat> format) {
    return at::detail::empty_generic(size, &memory, KEYS, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(IntArrayRef size, IntArrayRef stride, optional<at::ScalarType> dtype, optional<at::Layout>,
                         optional<at::Device>, optional<bool>) {
    return at::detail::empty_strided_generic(size, stride, &memory, KEYS, c10::dtype_or_default(dtype));
}

void set_geometry(const at::Tensor& tensor, IntArrayRef size, IntArrayRef stride, int64_t offset) {
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
    tensor.unsafeGetTensorImpl()->set_storage_offset(offset);
}

at::Tensor strided(const at::Tensor& tensor, IntArrayRef size, IntArrayRef stride, optional<int64_t> offset) {
    auto view = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(tensor.storage()),
                                                         tensor.key_set(), tensor.dtype());
    set_geometry(view, size, stride, offset.value_or(tensor.storage_offset()));
    return view;
}

at::Tensor reshape_alias(const at::Tensor& tensor, IntArrayRef size, IntArrayRef stride) {
    return strided(tensor, size, stride, {});
}

at::Tensor view(const at::Tensor& tensor, IntArrayRef size) {
    const auto whole = at::infer_size_dv(size, tensor.numel());
    const auto stride = at::detail::computeStride(tensor.sizes(), tensor.strides(), whole);
    TORCH_CHECK(stride, "a tensor with these strides cannot be seen in that shape");
    return strided(tensor, whole, *stride, {});
}

at::Tensor unfold(const at::Tensor& tensor, int64_t axis, int64_t length, int64_t step) {
    auto size = tensor.sizes().vec(), stride = tensor.strides().vec();
    axis = at::maybe_wrap_dim(axis, tensor.dim());
    size.push_back(length);
    stride.push_back(stride[axis]);
    size[axis] = (size[axis] - length) / step + 1;
    stride[axis] *= step;
    return strided(tensor, size, stride, {});
}

at::Tensor& set_storage(at::Tensor& tensor, at::Storage storage, int64_t offset, IntArrayRef size, IntArrayRef stride) {
    tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(storage);
    set_geometry(tensor, size, stride, offset);
    return tensor;
}

at::Tensor& set_to(at::Tensor& tensor, const at::Tensor& other) {
    return set_storage(tensor, other.storage(), other.storage_offset(), other.sizes(), other.strides());
}

const at::Tensor& resize(const at::Tensor& tensor, IntArrayRef size, optional<at::MemoryFormat> format) {
    const auto fresh = at::empty(size, tensor.options(), format);
    if (fresh.storage().nbytes() > tensor.storage().nbytes()) {
        TORCH_CHECK(tensor.numel() == 0, "the device apart does not keep values when a tensor grows");
        tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
    }
    set_geometry(tensor, fresh.sizes(), fresh.strides(), 0);
    return tensor;
}

// ---- where the host would wait for a GPU
bool waits_are_errors = false;
thread_local bool on_the_device = false;     // what happens now would happen there

struct OnTheDevice {
    bool before = std::exchange(on_the_device, true);
    ~OnTheDevice() { on_the_device = before; }
};

void wait_for(const std::string& what) {
    TORCH_CHECK(!waits_are_errors || on_the_device, "the host waits for the device apart: ", what);
}

at::Tensor copy_across(const at::Tensor& from, const at::Tensor& to, bool without_waiting) {
    if (to.numel() == 0) return to;
    if (from.device() != to.device() && !(without_waiting && from.device().is_cpu())) wait_for("copy");
    Opened source(from), target(to);
    target.as_cpu.copy_(source.as_cpu);
    return to;
}

at::Tensor copy_and_resize(const at::Tensor& from, const at::Tensor& to) {
    if (from.sizes() != to.sizes()) to.resize_(from.sizes());
    return copy_across(from, to, false);
}

// ---- operations
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const optional<at::Tensor>& bias,
                       IntArrayRef stride, IntArrayRef pad, IntArrayRef dilation, bool transposed,
                       IntArrayRef output_pad, int64_t groups) {
    OnTheDevice scope;
    const auto added = bias && bias->defined() ? optional<at::Tensor>(bias->cpu()) : std::nullopt;
    return at::convolution(x.cpu(), weight.cpu(), added, stride, pad, dilation, transposed, output_pad, groups)
        .to(x.device());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, IntArrayRef stride, IntArrayRef pad,
    IntArrayRef dilation, bool transposed, IntArrayRef output_pad, int64_t groups, std::array<bool, 3> wanted) {
    OnTheDevice scope;
    const int64_t outputs = dy.size(1);
    const auto [dx, dweight, dbias] = at::convolution_backward(
        dy.cpu(), x.cpu(), weight.cpu(), IntArrayRef(&outputs, 1), stride, pad, dilation, transposed, output_pad,
        groups, wanted);
    const auto sent = [&](const at::Tensor& found) { return found.defined() ? found.to(x.device()) : found; };
    return {sent(dx), sent(dweight), sent(dbias)};
}

// CUDA takes tensors of the CPU beside its own where they have no axes, and as indices.
void on_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
    static const std::set<std::string> asking{"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select",
                                              "aten::_unique2", "aten::equal"};
    const auto& name = operation.schema().name();
    if (asking.count(name)) wait_for(name);
    OnTheDevice scope;
    bool near = false, apart = false;
    for (const auto& value : *stack) {
        if (!value.isTensor() || !value.toTensor().defined()) continue;
        const auto& tensor = value.toTensor();
        apart = apart || tensor.device().type() == APART;
        near = near || (tensor.device().is_cpu() && tensor.dim() > 0 && name.find("index") == std::string::npos);
    }
    TORCH_CHECK(!(near && apart), name, ": expected all tensors on one device, found the CPU's and the device apart's");
    at::native::cpu_fallback(operation, stack);
}

}  // namespace

// Whether to raise an error where the host would wait; also for values that make a shape.
extern "C" void make_waits_errors(int errors) { waits_are_errors = errors; }

// Opens or closes the memory that holds an address, for kernels that are emulated.
extern "C" void open_memory(const void* address, int opened) { memory.open(address, opened); }

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
    library.fallback(torch::CppFunction::makeFromBoxedFunction<&on_cpu>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
    library.impl("empty.memory_format", empty);
    library.impl("empty_strided", empty_strided);
    library.impl("as_strided", strided);
    library.impl("view", view);
    library.impl("_reshape_alias", reshape_alias);
    library.impl("unfold", unfold);
    library.impl("set_.source_Storage_storage_offset", set_storage);
    library.impl("set_.source_Tensor", set_to);
    library.impl("resize_", resize);
    library.impl("_copy_from", copy_across);
    library.impl("_copy_from_and_resize", copy_and_resize);
    library.impl("convolution_overrideable", convolution);
    library.impl("convolution_backward_overrideable", convolution_backward);
}
