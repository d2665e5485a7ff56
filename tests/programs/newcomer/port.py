"""The same in PyTorch."""

import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, stride=2)
        self.bn = nn.BatchNorm2d(8, eps=1e-3)
        self.conv2 = nn.Conv2d(8, 12, 3, padding=1)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(12 * 7 * 5, 10)

    def forward(self, x):
        x = F.pad(x, (0, 1, 0, 1))
        x = F.relu(self.conv1(x))
        x = self.bn(x)
        x = F.leaky_relu(self.conv2(x), 0.3)
        x = F.max_pool2d(x, 2)
        x = self.dropout(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        return F.softmax(self.fc(x), dim=1)
