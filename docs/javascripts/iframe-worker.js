// Search on pages opened from disk. Browsers refuse to start a Worker from a file:// URL,
// so there the worker's script runs in a hidden frame with the same interface.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const scope = frame.contentWindow
      const load = (source) =>
        new Promise((resolve, reject) => {
          const script = frame.contentDocument.createElement("script")
          script.src = source
          script.onload = resolve
          script.onerror = () => reject(new Error(`cannot load ${source}`))
          frame.contentDocument.body.append(script)
        })
      scope.importScripts = (...sources) =>
        sources.reduce((before, one) => before.then(() => load(one)), Promise.resolve())
      scope.postMessage = (data) => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        this.onmessage?.(event)
      }
      this.deliver = (data) =>
        scope.dispatchEvent(new scope.MessageEvent("message", { data }))
      this.terminate = () => frame.remove()
      this.ready = load(String(url))
    }
    postMessage(data) {
      this.ready.then(() => this.deliver(data))
    }
  }
}
