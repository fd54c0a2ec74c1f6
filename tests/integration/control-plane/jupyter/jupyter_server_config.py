from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

class OnlyMoat(KernelSpecManager):
    def get_kernel_spec(self, kernel_name):
        if kernel_name != "moat":
            raise NoSuchKernel(kernel_name)
        return super().get_kernel_spec(kernel_name)

c.ServerApp.kernel_spec_manager_class = OnlyMoat
c.OnlyMoat.allowed_kernelspecs = {"moat"}
c.OnlyMoat.ensure_native_kernel = False
c.MultiKernelManager.default_kernel_name = "moat"
c.ServerApp.terminals_enabled = False
